"""What checks look at, and the findings that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from initcfg._diagnose.checks.codes import CHECKS
from initcfg._diagnose.facts import Finding, Level, ProbeRun
from initcfg._diagnose.measuring import Broken, LayerSeen, Seen
from initcfg._diagnose.sentences import Sentence, told

# Where what is found is in no module.
_PLACES = {
    "nonfinite-input": "the batch",
    "nonfinite-loss": "the loss",
    "nonfinite-gradient": "the gradient",
    "fp16-underflow": "the gradient",
    "input-scale": "the batch",
    "target-range": "the batch",
    "loss-too-low": "the loss",
    "class-prior": "the labels",
    "input-lost": "the output",
    "initial-loss": "the output",
    "update-too-small": "the learning rate",
    "probe-diverges": "the learning rate",
    "probe-stalls": "the learning rate",
    "not-loaded": "the checkpoint",
}
# Of the largest pull: with less, a tensor's scale is not what makes the loss.
_LEAST_PULL = 0.1


@dataclass
class TensorSeen:
    """A parameter, as a pass has left it.

    Attributes:
        module: The module that holds it.
        finite: Whether all its numbers are.
        equal_rows: Share of rows that are equal to the first, where it is a layer's weight and not zero.
        used: Whether it has a gradient at all; ``zero_gradient``: exactly 0.
        moved: Share of its elements that have a gradient.
        tiny_gradients: How many gradients float16 rounds to 0, ``gradients``: of how many that are not 0.
        layer: Whether it is the weight of a layer.
        pull: How much the loss rises with its scale, to first order; 0 where a norm takes that away.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    dtype: str
    trained: bool
    finite: bool
    rms: float
    mean: float
    largest: float
    edges: tuple[float, float]
    histogram: tuple[int, ...]
    equal_rows: float | None = None
    layer: bool = False
    used: bool = False
    zero_gradient: bool = False
    gradient_rms: float | None = None
    moved: float = 0.0
    tiny_gradients: int = 0
    gradients: int = 0
    update: float | None = None
    pull: float | None = None


@dataclass
class Evidence:
    """All that is known of a model before it is judged.

    Attributes:
        alive: Tensors with a gradient within a few steps; None where no steps were possible.
        canonical: From a module's name and attribute to the name of the tensor.
        broken: Where numbers cease to be finite, if they do.
        loaded: Tensors that a checkpoint gave.
        fresh: Whether all weights are known to be draws, which nobody has trained.
        bad_batch: Which numbers of the batch are not finite.
    """

    seen: Seen
    tensors: dict[str, TensorSeen]
    canonical: Mapping[str, str]
    gradient_norm: float = float("nan")
    alive: set[str] | None = None
    probe: tuple[ProbeRun, ...] = ()
    # Remarks of the plan.
    notes: Sequence[str] = ()
    lr: float = 1e-3
    lr_given: bool = False
    steps: int = 8
    dtype: str = "float32"
    stored: str = "float32"
    inputs: tuple[tuple[float, float], ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    broken: Broken | None = None
    loaded: frozenset[str] = frozenset()
    fresh: bool = False
    bad_batch: Sentence | None = None

    def weights_of(self, module: str, *, biases: bool = False) -> tuple[str, ...]:
        """The tensors of a layer, its weight first."""
        start = f"{module}." if module else ""
        if module in self.tensors:
            return (module,)
        own = [
            self.canonical.get(name, name)
            for name in dict.fromkeys([*self.canonical, *self.tensors])
            if name.startswith(start) and "." not in name[len(start) :]
        ]
        own = [each for each in dict.fromkeys(own) if each in self.tensors]
        matrices = [each for each in own if len(self.tensors[each].shape) > 1]
        if any(".weight_hh_" in f".{each}" for each in matrices):
            # What is applied at every step counts, if it is larger than what the input goes through.
            matrices.sort(key=self._gain, reverse=True)
        others = [each for each in own if each not in matrices]
        return (*matrices, *others) if biases or not matrices else tuple(matrices)

    def _gain(self, name: str) -> float:
        """How much a matrix enlarges what it is given."""
        each = self.tensors[name]
        return each.rms * math.sqrt(each.shape[-1]) if math.isfinite(each.rms) else math.inf

    def that_matters(self, names: tuple[str, ...], but: str = "") -> tuple[str, ...]:
        """A layer's tensors, if the loss changes with their scale; else the tensor with whose scale it does.

        Behind h/‖h‖ or a norm, the scale of what made h changes nothing.

        Args:
            but: A layer that is not to blame, if there is another.
        """
        pulls = {name: each.pull for name, each in self.tensors.items() if each.pull is not None}
        own = [name for name in names if name in pulls]
        if not own or not all(map(math.isfinite, pulls.values())):
            return names
        # A layer's weight and its bias together: a norm takes away the scale of both, not of each.
        layers = {each.name for each in self.seen.layers}
        owner = {name: each.module if each.module in layers else name for name, each in self.tensors.items()}
        wholes: dict[str, float] = {}
        for name, pull in pulls.items():
            wholes[owner[name]] = wholes.get(owner[name], 0.0) + pull
        wholes = {each: abs(pull) for each, pull in wholes.items()}
        top = max(wholes.values())
        if wholes[owner[own[0]]] >= _LEAST_PULL * top:
            return tuple(sorted(names, key=lambda name: abs(pulls.get(name, 0.0)) < _LEAST_PULL * top))
        # What multiplies the logits has their own pull; of several such the largest: factors of 1 are usual.
        found = self.seen.main_loss
        of_logits = abs(found.pull) if found is not None else 0.0
        near = [each for each, pull in wholes.items() if abs(pull - of_logits) <= 0.02 * of_logits]
        near = [each for each in near if each != but] or [max(wholes, key=lambda each: wholes[each])]
        inside = [name for name in pulls if owner[name] in near]
        chosen = owner[max(inside, key=lambda name: self.tensors[name].rms)]
        own = [name for name in inside if owner[name] == chosen]
        return tuple(sorted(own, key=lambda name: -abs(pulls[name])))

    def finding(
        self,
        code: str,
        where: str,
        *said: Sentence,
        measured: float | None = None,
        level: Level | None = None,
        threshold: float | None = None,
        tensors: tuple[str, ...] = (),
        fix: Sentence | None = None,
        mend: Mapping[str, Any] | None = None,
        more: int = 0,
    ) -> Finding:
        """A finding of a check, with what is known of the check."""
        check = CHECKS[code]
        level = level or check.level
        if check.of_lr and not self.lr_given:
            level = "info"
        return Finding(
            level,
            code,
            where or _PLACES.get(code, "the model"),
            math.nan if measured is not None and math.isnan(measured) else measured,
            check.threshold if threshold is None else threshold,
            check.healthy,
            told(said) or "",
            check.why,
            told([fix]) or "" if fix is not None else check.fix,
            mend=mend,
            tensors=tensors,
            more=more,
            said=said,
            remedy=fix,
        )


def most_gain(layers: list[LayerSeen]) -> LayerSeen | None:
    """The layer whose output is largest beside its input."""
    known = [each for each in layers if each.entering and each.rms == each.rms]
    return max(known, key=lambda each: each.rms / (each.entering or 1), default=None)


def least_gain(layers: list[LayerSeen]) -> LayerSeen | None:
    """The layer whose output is smallest beside its input."""
    known = [each for each in layers if each.entering and each.rms == each.rms]
    return min(known, key=lambda each: each.rms / (each.entering or 1), default=None)
