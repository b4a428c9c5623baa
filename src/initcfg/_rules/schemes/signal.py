"""Signal-preserving initialization of any model: by its moments, or by a batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._config import function_of_file
from initcfg._model import ORTHOGONAL_UP_TO, Seen, analyzed, example_of, find_roles
from initcfg._rules.initializers import INITIALIZERS, BaseInit, LSUVInit, finite, one_of
from initcfg._rules.scale import parse_scale
from initcfg._rules.schemes.scheme import Scheme
from initcfg.errors import ArgumentError, ArgumentValueError, InitcfgError, RoleError
from initcfg.values import FromBatch, Layout, Normal, Orthogonal, Value, centered

# Beyond this standard deviation of the logarithm of their sizes, samples are said to be apart.
_APART = math.log(2.0)
_LAYERS = ["Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
_LAYERS += ["Conv1D", "MultiheadAttention"]


@INITIALIZERS.register_module(name="SignalPreserving")
class SignalPreserving(Scheme):
    """Every weight has the scale at which its output has the standard deviation ``std``, in any model.

    ``mode="analytic"`` needs shapes alone. The model runs once without memory, and beside each tensor goes
    what its elements are like: a function of Gaussian numbers, known at the nodes of a quadrature. So the
    moments of an activation are those of the function itself, whoever wrote it; sums, products, norms,
    pooling, attention, concatenation and embeddings are followed as well, and how samples drift apart in
    layers that have finite widths. The standard deviation is that of all elements together: samples,
    positions and channels. Where a layer's input has a mean
    (after ReLU, say), the weights of each output have the mean 0 (``centered``): else it would grow with
    depth, make all samples alike, and chance would decide the scale of deep layers. Matrices up to 256 wide
    are orthogonal, others Gaussian.

    ``mode="empirical"`` runs a batch instead, as ``LSUV``, also through embeddings and attention.

    ``preserve="backward"`` keeps the standard deviation of gradients instead, wherever only a function stands
    between two weights (elsewhere, that of outputs); ``"both"`` takes the geometric mean of the two scales.
    Where outputs and gradients cannot both be kept, or samples drift
    apart, a note of the plan says by how much.

    The idea is that of "AutoInit" (Bingham & Miikkulainen 2023) and of mean-field theory (Poole et al. 2016).

    Args:
        mode: ``"analytic"`` or ``"empirical"``.
        batch: For ``"empirical"``: see ``LSUV``.
        example: For ``"analytic"``: inputs of the right shapes, a function that gives them, or
            ``"file.py:function"``; models of timm, torchvision and transformers need none.
        std: Standard deviation of the outputs.
        preserve: ``"forward"``, ``"backward"`` or ``"both"``; a batch tells of outputs alone.
        residual: What ``std`` is multiplied with for the last weight of each residual branch: a number, or an
            expression as ``scale=`` has it, ``"1/sqrt(residuals)"`` or ``"1/sqrt(layers)"``.
        tol: For ``"empirical"``: how far from it an output may stay.
        centered: Whether to take the mean out of weights.

    Example:
        >>> import initcfg, torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        >>> rule = dict(type="SignalPreserving", example=torch.empty(16, 32))
        >>> print(initcfg.plan(model, rule)["0.weight"].value)
        Orthogonal(gain=1.414)
    """

    family = "signal"
    paper = "Bingham & Miikkulainen 2023; Mishkin & Matas 2016"

    def __init__(
        self,
        mode: str = "analytic",
        batch: Any = None,
        example: Any = None,
        std: float = 1.0,
        tol: float = 0.1,
        centered: bool = True,
        preserve: str = "forward",
        residual: float | str = 1.0,
    ) -> None:
        self.mode = one_of("mode", mode, ("analytic", "empirical"))
        if (batch is None) == (mode == "empirical"):
            what = "needs a batch" if batch is None else "looks at no batch"
            raise ArgumentError(
                f"mode={mode!r} {what}.",
                fix="Write mode='empirical', batch='data.py:batch', or leave both out.",
            )
        self.std = finite("std", std)
        if self.std <= 0:
            raise ArgumentValueError(f"std must be above 0, not {std!r}.")
        self.batch, self.example, self.tol, self.centered = batch, example, tol, bool(centered)
        self.preserve = one_of("preserve", preserve, ("forward", "backward", "both"))
        if mode == "empirical" and preserve != "forward":
            raise ArgumentError(
                f"preserve={preserve!r}: a batch tells of outputs; no gradient is measured.",
                fix="Leave out mode and batch, for the analytic mode, or leave out preserve.",
            )
        self.residual = residual
        self._residual = parse_scale("residual", residual)

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        example = function_of_file(self.example) if isinstance(self.example, str) else self.example
        targets = self._targets(owner, example)
        if self.mode == "empirical":
            return self._measured(owner, example, targets)
        try:
            seen = self._seen(owner, example, targets)
        except RoleError as error:
            if example is not None or error.__cause__ is not None:
                raise
            # What roles are declared would not help.
            raise RoleError(
                f"SignalPreserving runs a {type(owner).__name__} once without memory, and what it takes as "
                "input is not known.",
                fix=f"Give an example of it: example=({example_of(owner)},) in code, "
                "example='file.py:function' in the rule.",
            ) from error
        return self._analyzed(owner, seen)

    def _seen(self, owner: nn.Module, example: Any, targets: Mapping[str, float]) -> Seen:
        return analyzed(
            owner,
            example,
            lambda name: targets.get(name, self.std),
            centers=self.centered,
            preserve=self.preserve,
        )

    def _targets(self, owner: nn.Module, example: Any) -> dict[str, float]:
        """The standard deviations of outputs that are not ``std``, by the name of the weight."""
        if self._residual.tree == 1.0:
            return {}
        given = example if example is not None or self.mode == "analytic" else _inputs(self.batch)
        roles = find_roles(owner, example=given, declared=self.declared)
        found: dict[str, float] = {}
        for name, role in roles.tensors.items():
            if "residual_out" not in role.roles:
                continue
            numbers = {"layers": roles.number("layers", name), "residuals": roles.number("residuals", name)}
            numbers |= {"layer": role.layer, "width": roles.width}
            known = {key: float(each) for key, each in numbers.items() if each is not None}
            found[name] = self.std * self._residual.value(known)
        return found

    def _measured(self, owner: nn.Module, example: Any, targets: Mapping[str, float]) -> list[dict[str, Any]]:
        """Rules that run the batch; tables of embeddings first, since all else follows them."""
        given = example if example is not None else _inputs(self.batch)
        notes: list[str] = []
        if given is not None:
            # Nothing but a remark: what has no shapes to go by is measured all the same.
            with contextlib.suppress(InitcfgError):
                notes = _notes(self._seen(owner, given, targets))
        rule = dict(
            type=SignalPreservingBatch,
            batch=self.batch,
            std=self.std,
            tol=self.tol,
            centered=self.centered,
            targets=targets,
        )
        return [
            dict(rule, layer=["Embedding"], gaussian=True),
            dict(rule, layer=_LAYERS, remarks=notes),
        ]

    def _analyzed(self, owner: nn.Module, seen: Seen) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = []
        notes = _notes(seen, self.preserve)
        for name, std in seen.stds.items():
            if name in seen.dead:
                continue
            arguments: dict[str, Any] = {"std": std, "target": seen.targets[name]}
            if name in seen.lookups:
                arguments["gaussian"] = True
            if name in seen.centered:
                arguments["centered"] = list(seen.centered[name])
            if not rules:
                arguments["remarks"] = notes
            rules.append(dict(type=SignalPreservingWeight, param=_literal(name), **arguments))
        held = {name for name, _ in owner.named_parameters(remove_duplicate=False)}
        biases = [each for name in seen.stds if (each := f"{name.removesuffix('weight')}bias") in held]
        return [
            *rules,
            *([dict(type="Constant", val=0, param=list(map(_literal, biases)))] if biases else []),
        ]

    def recipe(self) -> list[dict[str, Any]]:
        """It depends on the model."""
        return []


def _literal(name: str) -> str:
    """A name as a pattern."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def _inputs(batch: Any) -> Any:
    """A batch that is at hand: a file or a function is for applying, and is not asked before."""
    return None if isinstance(batch, str) or callable(batch) else batch


def _notes(seen: Seen, preserve: str = "forward") -> list[str]:
    found: list[str] = []
    if seen.unknown:
        found.append(f"not known, and taken to change nothing: {', '.join(seen.unknown)}")
    if seen.dead:
        found.append(f"their input is zero, and no scale helps: {', '.join(seen.dead)}")
    if preserve != "forward":
        last = list(seen.targets.values())[-1:] or [1.0]
        found.append(f"outputs do not keep their scale: the last has standard deviation {last[0]:.3g}")
    elif seen.backward:
        logs = [math.log(each) for each in seen.backward.values() if each > 0]
        each = math.exp(sum(logs) / len(logs) / 2) if logs else 1.0
        if abs(each - 1) > 0.02:
            found.append(
                f"where outputs keep their scale, gradients are multiplied by {each:.3g} from layer to layer "
                f"({each ** len(logs):.3g} over {len(logs)}), and no scale of weights keeps both"
            )
    worst, spread = max(seen.apart.items(), key=lambda item: item[1], default=("", 0.0))
    if spread > _APART:
        found.append(
            f"no scale keeps single samples: they drift apart, until at {worst} they differ by a factor "
            f"of {min(math.exp(spread), 1e9):.2g} (one standard deviation); a norm between layers, or wider "
            "layers, would keep them together"
        )
    return found


class SignalPreservingWeight(BaseInit):
    """One weight of SignalPreserving."""

    def __init__(
        self,
        std: float,
        target: float,
        centered: Any = (),
        gaussian: bool = False,
        remarks: Any = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.std, self.target, self.centered = std, target, list(centered) or None
        self._gaussian, self._remarks = gaussian, list(remarks)

    def notes(self) -> list[str]:
        """See :meth:`BaseInit.notes`."""
        return self._remarks

    def resolve(self, layout: Layout) -> Value:
        """The whole tensor, whatever its parts."""
        return self.value(layout)

    def value(self, layout: Layout) -> Value:
        """See :meth:`BaseInit.value`."""
        shape = layout.shape
        rows, columns = shape[0], math.prod(shape[1:])
        if self._gaussian or min(rows, columns) > ORTHOGONAL_UP_TO:
            made: Value = Normal(0.0, self.std)
        else:
            made = Orthogonal(self.std * math.sqrt(max(rows, columns)))
        if not self.centered:
            return made
        return centered(made, tuple(shape), self.centered)


class SignalPreservingBatch(LSUVInit):
    """The weights of SignalPreserving that a batch decides."""

    scheme = "SignalPreserving"

    def __init__(
        self,
        batch: Any,
        std: float,
        tol: float,
        centered: bool,
        targets: Mapping[str, float],
        gaussian: bool = False,
        remarks: Any = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(batch, std, tol, **kwargs)
        self.centered = centered
        self._targets, self._gaussian, self._remarks = dict(targets), gaussian, list(remarks)
        # It depends on the shape.
        self.first: Any = None

    def notes(self) -> list[str]:
        """See :meth:`BaseInit.notes`."""
        return self._remarks

    def target(self, name: str) -> float:
        """See :meth:`LSUVInit.target`; the targets' names count from the module that has the rule."""
        parts = name.split(".")
        names = (".".join(parts[at:]) for at in range(len(parts)))
        return next((self._targets[each] for each in names if each in self._targets), self.std)

    def _resolve(self, layout: Layout) -> Value:
        shape = layout.shape
        std = 1.0 if self._gaussian else 1.0 / math.sqrt(math.prod(shape[1:]) or 1)
        return FromBatch(self.text(), SignalPreservingWeight(std, std, gaussian=self._gaussian).value(layout))
