"""Two initializations side by side: trained a few steps on the same batches, over several seeds."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import nn

from initcfg._apply import last_plan, remember_plan
from initcfg._diagnose.blame import holds
from initcfg._diagnose.diagnose import Request, diagnosed, running, usual_values
from initcfg._diagnose.facts import Diagnosis
from initcfg._diagnose.progress import tell
from initcfg._diagnose.task import task_for
from initcfg._diagnose.tensors import tensors_seen
from initcfg._diagnose.training import trained_losses
from initcfg._diagnose.untouched import refuse_unready
from initcfg._model import doors, named_tensors, unwrapped
from initcfg._plan import Plan, record_to_json
from initcfg._stream.writing import fill_stream
from initcfg.errors import DiagnosisError, InitcfgError, as_annotated, plural

SEEDS = 5
# Of the 252 orders of five and five, two tell them apart: chance does so in less than one case of a hundred.
_CHANCE = 0.01


@dataclass(frozen=True)
class Side:
    """One of the two: a model, and the plan by which its weights are drawn anew."""

    name: str
    model: nn.Module
    plan: Plan | None


@as_annotated(DiagnosisError)
@dataclass(frozen=True)
class DiagnosisComparison:
    """What a few steps of training tell of two initializations.

    Attributes:
        names: What the two are called.
        here: Diagnosis of the first, ``there`` of the second.
        losses_here: By seed: the loss before each step, and after the last; ``losses_there`` likewise.
        chance: How often two draws of one initialization would differ as much in their last losses.
        verdict: ``"here"`` or ``"there"``, the one with lower losses; ``"noise"`` where it may be luck.
    """

    names: tuple[str, str]
    here: Diagnosis
    there: Diagnosis
    losses_here: tuple[tuple[float, ...], ...]
    losses_there: tuple[tuple[float, ...], ...]
    chance: float
    verdict: Literal["here", "there", "noise"]

    @property
    def ok(self) -> bool:
        """Whether neither has an error or a warning."""
        return self.here.ok and self.there.ok

    def __str__(self) -> str:
        lines = [self.told()]
        for name, diagnosis in zip(self.names, (self.here, self.there), strict=True):
            lines += [f"{name}: {line}" for line in str(diagnosis).splitlines()]
        return "\n".join(lines)

    def told(self) -> str:
        """The verdict in a sentence, with the numbers behind it."""
        last = [median(losses[-1] for losses in each) for each in (self.losses_here, self.losses_there)]
        seeds, steps = len(self.losses_here), self.here.steps
        after = f"after {plural(steps, 'step')} at lr {self.here.lr:g}, {plural(seeds, 'seed')} each"
        both = f"{self.names[0]} has the loss {last[0]:.4g} and {self.names[1]} {last[1]:.4g} (median)"
        if self.verdict == "noise":
            few = "" if self.enough else " With so few seeds it cannot be told apart."
            return f"noise: {after}, {both}; chance would do as much in {self.chance:.1%} of cases.{few}"
        better = self.names[0] if self.verdict == "here" else self.names[1]
        return f"{better} is ahead: {after}, {both}; chance would do that in {self.chance:.1%} of cases."

    @property
    def enough(self) -> bool:
        """Whether there are so many seeds that a difference can be told from chance."""
        return least_chance(len(self.losses_here)) <= _CHANCE

    def _repr_html_(self) -> str:
        from initcfg._diagnose.report import comparison_short

        return comparison_short(self)

    def to_html(self, path: str | Path | None = None, lang: str = "en") -> str:
        """Both side by side as a page: one HTML file that needs nothing besides; see :meth:`Plan.to_html`.

        It has the verdict, the losses of every draw, and the findings and tensors of both.
        """
        from initcfg._diagnose.report import comparison_page

        return comparison_page(self, path, lang)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        sides = ("here", "there")
        return {
            "ok": self.ok,
            **record_to_json(self, without=sides),
            **{name: getattr(self, name).to_json() for name in sides},
        }


def compared(
    here: Side, there: Side, batch: Any, loss: Any, request: Request, seeds: Sequence[int]
) -> DiagnosisComparison:
    """Both diagnosed, and both trained from as many draws of their weights as there are seeds.

    The draws of the two have different seeds: of one initialization, the two would be two samples.
    """
    runs: list[list[tuple[float, ...]]] = []
    found: list[Diagnosis] = []
    for place, side in enumerate((here, there)):
        model = unwrapped(side.model)
        with _of_side(side, place):
            found.append(
                _diagnosis(side, batch, loss, request, redraw=place == 1 and model is unwrapped(here.model))
            )
            runs.append([])
            for count, seed in enumerate(seeds, 1):
                tell(f"draw {count} of {len(seeds)} of {side.name}")
                runs[-1].append(run_of(side, batch, loss, request, seed, place))
    chance = chance_of([each[-1] for each in runs[0]], [each[-1] for each in runs[1]])
    verdict: Literal["here", "there", "noise"] = "noise"
    if chance <= _CHANCE:
        lower = _middle(runs[0]) < _middle(runs[1])
        verdict = "here" if lower else "there"
    return DiagnosisComparison(
        (here.name, there.name), found[0], found[1], tuple(runs[0]), tuple(runs[1]), chance, verdict
    )


@contextlib.contextmanager
def _of_side(side: Side, place: int) -> Iterator[None]:
    """What fails within says which of the two it is."""
    try:
        yield
    except DiagnosisError as error:
        which = f"the {('first', 'second')[place]} of the two, {type(unwrapped(side.model)).__name__}"
        error.problem = f"Of {which}: {error.problem}"
        error.args = (error.problem,)
        raise


def _middle(runs: Sequence[Sequence[float]]) -> float:
    return median(each[-1] if math.isfinite(each[-1]) else math.inf for each in runs)


def _diagnosis(side: Side, batch: Any, loss: Any, request: Request, *, redraw: bool) -> Diagnosis:
    """Of the weights that are there, or of a draw of the plan in the same model."""
    if not redraw:
        return diagnosed(side.model, batch, loss, request, side.plan)
    refuse_unready(side.model)
    with running(unwrapped(side.model), request):
        draw(unwrapped(side.model), side, request.seed)
        return diagnosed(side.model, batch, loss, request, side.plan)


def run_of(side: Side, batch: Any, loss: Any, request: Request, seed: int, place: int) -> tuple[float, ...]:
    """The losses from one draw of the weights; ``place``, 0 or 1, keeps the draws of the two apart."""
    model = unwrapped(side.model)
    refuse_unready(model)
    # The same batch for both, other weights for each.
    task = task_for(model, batch, loss, seed)
    with running(model, request):
        draw(model, side, 2 * seed + place)
        return trained_losses(model, task, request.optimizer, request.rate, request.steps)


def draw(model: nn.Module, side: Side, seed: int) -> None:
    """Draw the weights anew: by the plan, and by what constructors do where it says nothing.

    Raises:
        DiagnosisError: Nothing is known of how they were drawn.
    """
    before = last_plan(model)
    seen = tensors_seen(model, "adamw", 1.0)
    usual = {
        name: each
        for name, each in usual_values(model, side.plan).items()
        if holds(each.value, seen[name]) is not False
    }
    ruled = side.plan is not None and any(each.rule is not None for each in side.plan.parameters.values())
    if not usual and not ruled:
        raise DiagnosisError(
            f"Nothing tells how the weights of {side.name} were drawn, so there is no telling a difference "
            "from noise.",
            fix="Give its plan, plan=initcfg.trace(build) for example, or its init_cfg.",
        )
    if side.plan is not None:
        try:
            doors.apply_plan(side.plan, model, seed=seed, rng="stream")
        except InitcfgError as error:
            raise DiagnosisError(
                f"The plan of {side.name} cannot be carried out: {error.problem}", fix=error.fix
            ) from error
        finally:
            if before is not None:
                remember_plan(model, before)
    entries = {entry.name: entry for entry in named_tensors(model).parameters}
    for name, each in usual.items():
        entry = entries[name]
        if not entry.originals:
            with torch.no_grad():
                fill_stream(entry.tensor.detach(), each.value, seed=seed, name=name)


def chance_of(here: Sequence[float], there: Sequence[float]) -> float:
    """How often numbers in random order would be as far apart as these, by their ranks; exact.

    Example:
        >>> from initcfg._diagnose.comparison import chance_of
        >>> round(chance_of([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 4), chance_of([1, 4], [2, 3])
        (0.0079, 1.0)
    """
    known = [each if math.isfinite(each) else math.inf for each in (*here, *there)]
    # Equal numbers share the middle of their ranks.
    ranks = [sum(b < a for b in known) + sum(b == a for b in known) / 2 for a in known]
    middle = len(here) * len(known) / 2
    far = abs(sum(ranks[: len(here)]) - middle)
    size = len(here)
    if math.comb(len(known), size) > 200_000:
        return _by_the_normal(far, size, len(there))
    count = total = 0
    for chosen in itertools.combinations(ranks, size):
        total += 1
        count += abs(sum(chosen) - middle) >= far - 1e-9
    return count / total


def _by_the_normal(far: float, here: int, there: int) -> float:
    deviation = math.sqrt(here * there * (here + there + 1) / 12)
    return math.erfc(far / deviation / math.sqrt(2))


def least_chance(seeds: int) -> float:
    """The smallest number that so many seeds can give."""
    return 2 / math.comb(2 * seeds, seeds) if seeds else 1.0


def checked_seeds(given: Any) -> tuple[int, ...]:
    """The seeds, from their number or as they are.

    Raises:
        DiagnosisError: There are none.
    """
    counted = range(given) if type(given) is int and given <= 1000 else given
    seeds = tuple(counted) if isinstance(counted, (tuple, list, range)) else ()
    if not seeds or not all(isinstance(each, int) and 0 <= each < 1 << 62 for each in seeds):
        raise DiagnosisError(
            f"seeds is a number of seeds, or a list of them, not {given!r}.", fix="Write seeds=5."
        )
    return seeds
