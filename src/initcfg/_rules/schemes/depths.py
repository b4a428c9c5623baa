"""Schemes that transfer across depths too: CompleteP, and depth-μP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from initcfg._model import Widths
from initcfg._rules.initializers import INITIALIZERS, number
from initcfg._rules.schemes.branch_ends import Ends, ends_of
from initcfg._rules.schemes.widths import NARROW, WIDE, OfBase, grows_by, kind_of, patterns_of
from initcfg.errors import ArgumentValueError, PlanError


@INITIALIZERS.register_module(name="CompleteP")
class CompleteP(OfBase):
    """CompleteP: what is tuned on a narrow and shallow base holds for a wide and deep model.

    With m = width / base width, M = layers / base layers, and the factor M^-alpha on each residual branch
    folded into the tensors that end it:

    - hidden weights N(0, (std·m^-½)²), those that end a branch also · M^-alpha; lr · m^-1·M^(alpha-1), of
      those that end a branch also · M^-alpha; weight decay · m, there also · M^alpha
    - input weights and the head as in ``MuP``; biases and norms of blocks: lr · M^(alpha-1), no weight decay;
      biases of the layers that end a branch: lr also · M^-alpha
    - eps · m^-1·M^-alpha, divided by the factor where one is folded
    - Muon's learning rate (``param_groups(optimizer="muon")``) has the factors of the depth, and not m^-1
    - where a norm ends a branch, after its last layer, the factor is folded into that norm's weight

    Dey et al. 2025, "Don't be lazy: CompleteP enables compute-efficient deep transformers" (arXiv
    2505.01618), table 1. Checked against EleutherAI's nanoGPT-mup, branch completep: with m = M = 4, a
    tensor that ends a branch gets std · 0.5 · 0.25.

    Args:
        base: See ``MuP``, as ``base_args``, ``std``, ``readout`` and ``forward``.
        alpha: Exponent of the depth; 1 is the paper's, ½ is depth-μP.
        optimizer: ``"adamw"``.
    """

    paper = "Dey et al. 2025"
    needs = ("residual_out",)
    optimizers: ClassVar[tuple[str, ...]] = ("adamw",)
    by_depth: ClassVar[bool] = True

    def __init__(
        self, base: Any = None, *, alpha: float = 1.0, forward: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(base, forward=forward, **arguments)
        self.alpha = number("alpha", alpha)
        if not 0 <= alpha <= 1:
            raise ArgumentValueError(f"alpha lies between 0 and 1, and is {alpha!r}.", fix="Write alpha=1.")

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        widths = self.widths(owner)
        deep = self._deep(widths)
        branch, rate = f"{deep}**-{self.alpha:.10g}", f"{deep}**{self.alpha - 1:.10g}"
        ends = Ends() if deep == "1" else ends_of(owner, self.example, self.declared)
        groups: dict[tuple[str, str, bool], list[str]] = {}
        for name, each in widths.tensors.items():
            key = (kind_of(each), grows_by(each), name in widths.in_blocks)
            groups.setdefault(key, []).append(name)
        parts: list[dict[str, Any]] = []
        hidden: list[str] = []
        weights: list[str] = []
        for (kind, out, inside), alike in groups.items():
            names = patterns_of(alike, widths.tensors)
            where = rate if inside else "1"
            weights += alike if inside and kind in ("hidden", "input") else []
            eps = f"1/{out}*{branch}"
            if kind == "hidden":
                hidden += alike
            elif kind == "input":
                tune = self.tuned(lr=where if inside else "1", eps=eps)
                parts.append(dict(type="Normal", std=self.std, param=names, tune=tune))
            elif kind == "output":
                tune = self.tuned(lr=NARROW, weight_decay=WIDE, eps=branch)
                parts.append(dict(**self.head(), param=names, tune=tune))
            else:
                value = dict(type="Constant", val=0) if kind == "bias" else {}
                parts.append(dict(**value, param=names, tune=self.tuned(lr=where, weight_decay="0", eps=eps)))
        if hidden:
            parts.append(self._hidden(patterns_of(hidden, widths.tensors), branch, rate))
        # After all others. At the width of the base none is hidden, and branches have their factor.
        folded = [] if ends.norms else [*{*weights, *hidden}]
        if folded:
            parts.append(self._ends(patterns_of(folded, widths.tensors), branch, rate))
        return [*parts, *self._vectors(ends, widths, branch, rate)]

    def _vectors(self, ends: Ends, widths: Widths, branch: str, rate: str) -> Iterator[dict[str, Any]]:
        """The biases and norms into which a branch's factor is folded."""
        found: dict[tuple[str, float | None], list[str]] = {}
        for name, offset in (*((each, None) for each in ends.biases), *ends.norms.items()):
            if name not in widths.tensors:
                continue
            found.setdefault((grows_by(widths.tensors[name]), offset), []).append(name)
        for (out, offset), names in found.items():
            tune = self.tuned(lr=f"{rate}*{branch}", weight_decay="0", eps=f"1/{out}")
            rule = dict(param=patterns_of(names, widths.tensors), tune=tune)
            if offset is None:
                yield rule
            else:
                # (1 + w)·c is 1 + w' with w' = c·w + c - 1.
                factor = self.factor(widths)
                yield dict(type="Constant", val=factor - offset, **rule)

    def factor(self, widths: Widths) -> float:
        """The factor of each residual branch."""
        return (widths.layers / widths.base_layers) ** -self.alpha

    def _deep(self, widths: Widths) -> str:
        """How many times as deep as the base."""
        if widths.layers and widths.base_layers:
            return f"({widths.layers}/{widths.base_layers})"
        if widths.same_names:
            return "1"
        raise PlanError(
            f"{type(self).__name__} needs the number of blocks here and in the base, and finds "
            f"{widths.layers or 'none'} here and {widths.base_layers or 'none'} there.",
            fix="Build both with the same code, of 1 block or more, and hold the blocks in an nn.ModuleList.",
        )

    def _hidden(self, names: list[str], branch: str, rate: str) -> dict[str, Any]:
        """The weights whose inputs grow."""
        muon = "1" if self.alpha == 1 else rate
        tune = self.tuned(lr=f"{NARROW}*{rate}", weight_decay=WIDE, eps=f"{NARROW}*{branch}", muon=muon)
        return dict(type="Normal", std=self.std, param=names, scale=f"sqrt({NARROW})", tune=tune)

    def _ends(self, names: list[str], branch: str, rate: str) -> dict[str, Any]:
        """Those of the weights that end a residual branch, whose factor is folded."""
        muon = f"{rate}*{branch}"
        tune = self.tuned(lr=f"{NARROW}*{muon}", weight_decay=f"{WIDE}/{branch}", eps=NARROW, muon=muon)
        scale = f"sqrt({NARROW})*{branch}"
        return dict(type="Normal", std=self.std, param=names, role="residual_out", scale=scale, tune=tune)


@INITIALIZERS.register_module(name="DepthMuP")
class DepthMuP(CompleteP):
    """Depth-μP: ``CompleteP`` with alpha = ½, each residual branch and its learning rate · (layers/base)^-½.

    Yang et al. 2023, "Tensor Programs VI" (arXiv 2310.02244), table 1, for blocks of one layer. From 4 to 16
    layers the factor is 0.5.

    Args:
        base: See ``MuP``, as ``base_args``, ``std``, ``readout`` and ``forward``.
        optimizer: ``"adamw"``.
    """

    paper = "Yang et al. 2023"

    def __init__(self, base: Any = None, *, forward: str | None = None, **arguments: Any) -> None:
        super().__init__(base, alpha=0.5, forward=forward, **arguments)
