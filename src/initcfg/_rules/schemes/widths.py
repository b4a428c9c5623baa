"""Schemes that transfer across widths and depths: what is tuned on a narrow base holds for the wide model.

Where a paper multiplies in the forward pass, the multiplier c of a linear tensor is folded: W' = cW gives the
same model and the same training, if Adam's learning rate is multiplied by c, its eps and weight decay by 1/c;
SGD's learning rate by c², its weight decay by 1/c².
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from torch import nn

from initcfg._model import TensorWidth, Widths, template
from initcfg._rules.initializers import INITIALIZERS, standard_deviation
from initcfg._rules.schemes.base_model import check_base, widths_of
from initcfg._rules.schemes.scheme import Base, Scheme
from initcfg.errors import ArgumentValueError, PlanError, nearest

NARROW = "base_width/width"
WIDE = "width/base_width"


class OfBase(Scheme):
    """A scheme that compares the model with a base."""

    family = "width and depth transfer"
    optimizers: ClassVar[tuple[str, ...]] = ("adamw", "adam", "sgd")
    # Whether the number of blocks matters, too.
    by_depth: ClassVar[bool] = False

    def __init__(
        self,
        base: Any = None,
        *,
        base_args: Any = None,
        std: float = 0.02,
        readout: str = "scaled",
        optimizer: str = "adamw",
        forward: str | None = None,
    ) -> None:
        check_base(base, base_args, of=type(self).__name__)
        self.std = standard_deviation(std)
        _check_word("readout", readout, ("scaled", "zero"))
        _check_word("optimizer", optimizer, self.optimizers)
        if forward not in (None, "done"):
            raise ArgumentValueError(f"forward must be 'done', or be left out, not {forward!r}.")
        self.readout, self.optimizer, self.done = readout, optimizer, forward == "done"
        self._base, self._base_args = base, base_args
        self._widths: WeakKeyDictionary[nn.Module, Widths] = WeakKeyDictionary()

    def widths(self, owner: nn.Module) -> Widths:
        """What of the owner grows from the base, where the forward pass may stay as it is."""
        if owner not in self._widths:
            found = widths_of(owner, self._base, self._base_args, self.example, runs=self.by_depth)
            if not self.done:
                self._check_forward(found)
            self._widths[owner] = found
        return self._widths[owner]

    def _check_forward(self, widths: Widths) -> None:
        label = type(self).__name__
        if widths.tied:
            raise PlanError(
                f"{label}: head and embedding are one tensor, which needs a factor base_width/width in the "
                "forward pass, on the logits.",
                parameter=widths.tied[0],
                shape=widths.tensors[widths.tied[0]].shape,
                fix="Untie them (transformers: tie_word_embeddings=False); or have the model multiply, and "
                "say forward='done'.",
            )
        if widths.grown_heads:
            name, size, before = widths.grown_heads[0]
            raise PlanError(
                f"{label}: the heads of {name or 'the model'} have size {size}, and {before} in the base. "
                f"Attention then needs 1/{size} in place of 1/√{size}, which changes the forward pass.",
                fix="Let the number of heads grow with the width, so that their size stays (num_heads, "
                "head_dim, or as your model calls it); or have the model divide so, and say forward='done'.",
            )

    def base(self, owner: nn.Module) -> Base:
        """See :meth:`Scheme.base`."""
        widths = self.widths(owner)
        fans = {name: (float(each.fan_in), float(each.base_fan_in)) for name, each in widths.tensors.items()}
        return Base(fans, widths.base_layers)

    def head(self) -> dict[str, Any]:
        """What fills a head: the factor of its forward pass is folded."""
        if self.readout == "zero":
            return dict(type="Constant", val=0)
        return dict(type="Normal", std=self.std, scale=NARROW)

    def tuned(self, **multipliers: str) -> dict[str, str]:
        """Multipliers, without those that are 1, for the optimizer."""
        told = {name: text for name, text in multipliers.items() if text != "1"}
        return {**told, "optimizer": self.optimizer}


@INITIALIZERS.register_module(name="MuP")
class MuP(OfBase):
    """Maximal update parametrization: the learning rate that is best for the base is best for the wide model.

    With m = width / base width of a tensor's fan-in:

    - hidden weights N(0, (std·m^-½)²); Adam: lr/m, weight decay·m; SGD: lr·m_out/m_in
    - input weights and embeddings N(0, std²); SGD: lr·m
    - the head N(0, (std/m)²), or 0; Adam: lr/m, weight decay·m, eps·m; SGD: lr/m (the paper's factor 1/m in
      forward, folded)
    - biases 0; of norms and other vectors the values stay; SGD: lr·m
    - SGD's weight decay is divided by what multiplies its learning rate

    Yang et al. 2021, "Tensor Programs V" (arXiv 2203.03466), tables 3 and 8. Checked against the package
    ``mup``: a hidden weight from width 64 to 256 with std 0.05 gets 0.025, the head 0.0125
    (0.05 · 1/4 in forward).

    Args:
        base: The narrow model: a dict of changed arguments of the same builder, a builder's text, a module on
            meta, or a file of shapes.
        base_args: Arguments of a builder's text.
        std: Standard deviation in the base.
        readout: ``"scaled"``, or ``"zero"``: the head starts at 0.
        optimizer: ``"adamw"``, ``"adam"`` (whose weight decay is part of the gradient) or ``"sgd"``.
        forward: ``"done"``: the model does itself what cannot be folded.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> def net(width):
        ...     return nn.Sequential(nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 4))
        >>> with torch.device("meta"):
        ...     base = net(64)
        >>> plan = initcfg.plan(net(256), dict(type="MuP", base=base, std=0.05))
        >>> [plan[f"{i}.weight"].value.std for i in range(3)]
        [0.05, 0.025, 0.0125]
        >>> plan["2.weight"].tune["lr"]
        0.25
    """

    paper = "Yang et al. 2021"

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        tensors = self.widths(owner).tensors
        weights = dict(type="Normal", std=self.std)
        parts: list[dict[str, Any]] = []
        for (kind, out), names in _grouped(tensors, by_output=self.optimizer == "sgd").items():
            if kind == "hidden":
                parts.append(dict(**weights, param=names, scale=f"sqrt({NARROW})", tune=self._hidden(out)))
            elif kind == "input":
                parts.append(dict(**weights, param=names, tune=self._vector(out)))
            elif kind == "output":
                parts.append(dict(**self.head(), param=names, tune=self._output()))
            elif kind == "bias":
                parts.append(dict(type="Constant", val=0, param=names, tune=self._vector(out)))
            else:
                parts.append(dict(param=names, tune=self._vector(out)))
        return parts

    def _hidden(self, out: str) -> dict[str, str]:
        if self.optimizer == "sgd":
            return self.tuned(lr=f"{out}*{NARROW}", weight_decay=f"{WIDE}/{out}")
        return self.tuned(lr=NARROW, weight_decay=WIDE)

    def _vector(self, out: str) -> dict[str, str]:
        if self.optimizer == "sgd" and out != "1":
            return self.tuned(lr=out, weight_decay=f"1/{out}")
        return self.tuned()

    def _output(self) -> dict[str, str]:
        if self.optimizer == "sgd":
            return self.tuned(lr=NARROW, weight_decay=WIDE)
        # What is part of the gradient is divided by the factor once more.
        decay = WIDE if self.optimizer == "adamw" else f"({WIDE})**2"
        return self.tuned(lr=NARROW, weight_decay=decay, eps=WIDE)


def _grouped(tensors: Any, *, by_output: bool) -> dict[tuple[str, str], list[str]]:
    """Patterns by kind, and by what their outputs grow, as a text; where that decides nothing, ``"1"``."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, each in tensors.items():
        found.setdefault((kind_of(each), grows_by(each) if by_output else "1"), []).append(name)
    return {key: patterns_of(names, tensors) for key, names in found.items()}


def patterns_of(names: list[str], everything: Iterable[str]) -> list[str]:
    """Patterns of exactly these names: one for all blocks, where their tensors are alike."""
    wanted, all_names = set(names), list(everything)
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(template(glob.escape(name)), []).append(name)
    found: list[str] = []
    for pattern, meant in alike.items():
        whole = wanted.issuperset(fnmatch.filter(all_names, pattern))
        found += [pattern] if whole else map(glob.escape, meant)
    return found


def kind_of(each: TensorWidth) -> str:
    """What a recipe takes a tensor for: ``"hidden"``, ``"input"``, ``"output"``, ``"bias"``, ``"other"``."""
    if each.slot == "bias":
        return "bias"
    if each.slot != "weight" or len(each.shape) < 2:
        # Norms, class tokens, decays: their values are the model's own.
        return "other"
    # What does not grow is as an input: nothing of it depends on the width.
    return each.kind if each.kind in ("hidden", "output") else "input"


def grows_by(each: TensorWidth) -> str:
    """By how much the outputs of a tensor grow, as an expression."""
    here, there = (
        (each.shape[-1:], each.base_shape[-1:])
        if each.slot == "raw"
        else ((each.fan_out,), (each.base_fan_out,))
    )
    return "1" if here == there else f"({here[0]}/{there[0]})"


def _check_word(name: str, given: Any, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ArgumentValueError(
            f"{name} is one of {', '.join(known)}, not {given!r}.", meant=nearest(str(given), known)
        )
