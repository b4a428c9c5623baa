"""From a model to its diagnosis: one pass with everything watched, a few steps, the checks, the blame."""

from __future__ import annotations

import contextlib
import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from initcfg._diagnose.blame import Origin, all_drawn, blamed, origins
from initcfg._diagnose.checks import Evidence, TensorSeen, found_in
from initcfg._diagnose.facts import (
    AttentionMeasure,
    BlockMeasure,
    Diagnosis,
    Finding,
    Measures,
    ProbeRun,
    TensorMeasure,
    UnitMeasure,
)
from initcfg._diagnose.measuring import LayerSeen, first_broken, observed
from initcfg._diagnose.mends import OF_RATE, RATE, apply_mend, proposals
from initcfg._diagnose.progress import tell
from initcfg._diagnose.task import Task, task_for
from initcfg._diagnose.tensors import norm_of, tensors_seen
from initcfg._diagnose.training import check_optimizer, moving, precision, probed
from initcfg._diagnose.untouched import Pairs, refuse_unready, start_again, untouched
from initcfg._model import Entry, Names, fewer_collections, named_tensors, unwrapped
from initcfg._plan import Plan, Shadowed
from initcfg._record import builders, meta_defaults
from initcfg._stream.writing import seeded
from initcfg.errors import DiagnosisError, InitcfgError
from initcfg.values import Adapted, FromCheckpoint, Keep

DEFAULT_LR = 1e-3
_DTYPES = ("float32", "bfloat16", "float16")
_THIRD = (1 / 3, 1.0, 3.0)
_MOST_MENDS = 6


@dataclass(frozen=True)
class Request:
    """What a diagnosis is asked for.

    Attributes:
        lr: The learning rate; None if the user has said none.
        dtype: What it is computed in; None for that of the weights.
    """

    lr: float | None = None
    optimizer: str = "adamw"
    steps: int = 8
    dtype: str | None = None
    seed: int = 0

    @property
    def rate(self) -> float:
        """The learning rate that is tried."""
        return DEFAULT_LR if self.lr is None else self.lr


def checked_request(lr: Any, optimizer: Any, steps: Any, dtype: Any, seed: int) -> Request:
    """A request whose numbers make sense.

    Raises:
        DiagnosisError: One of them does not.
    """
    number = isinstance(lr, (int, float)) and not isinstance(lr, bool)
    if lr is not None and not (number and 0 < lr < math.inf):
        raise DiagnosisError(f"A learning rate is a number above 0, not {lr!r}.", fix="Write lr=3e-4.")
    if not isinstance(steps, int) or isinstance(steps, bool) or not 0 <= steps <= 10_000:
        raise DiagnosisError(f"steps is a whole number, at least 0, not {steps!r}.", fix="Write steps=8.")
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    if name is not None and name not in _DTYPES:
        raise DiagnosisError(
            f"dtype is {', '.join(map(repr, _DTYPES))} or None, not {dtype!r}.",
            fix="Leave it out for the type of the weights.",
        )
    return Request(None if lr is None else float(lr), check_optimizer(optimizer), steps, name, seed)


def diagnosed(model: nn.Module, batch: Any, loss: Any, request: Request, plan: Plan | None) -> Diagnosis:
    """See :func:`initcfg.diagnose`."""
    started = time.perf_counter()
    model = unwrapped(model)
    refuse_unready(model)
    task = task_for(model, batch, loss, request.seed)
    first = next(model.parameters())
    stored = _stored_dtype(model)
    dtype = request.dtype or stored
    constructors = usual_values(model, plan)
    names = named_tensors(model)
    code = builders(names, _unreached(names, plan))
    with fewer_collections(), running(model, request) as pairs:
        tell("looking at one pass, forward and back")
        evidence = _evidence(model, task, request, dtype, stored)
        evidence.loaded = _loaded(plan)
        _train(model, pairs, task, request, evidence, first)
        evidence.notes = () if plan is None else plan.notes
        evidence.fresh = all_drawn(plan, evidence.tensors, constructors)
        findings = found_in(evidence)
        known = origins(plan, evidence.tensors, constructors, code)
        findings = [blamed(each, known) for each in findings]
        findings = _mended(model, pairs, task, request, evidence, findings)
    return Diagnosis(
        tuple(findings),
        _measures(evidence, known),
        plan,
        request.seed,
        task.described,
        request.rate,
        request.lr is not None,
        request.optimizer,
        request.steps,
        dtype,
        round(time.perf_counter() - started, 3),
        task.loss,
    )


@contextlib.contextmanager
def running(model: nn.Module, request: Request) -> Iterator[Pairs]:
    """Within, the model may be run and trained as the request says; nothing of that stays."""
    first = next(model.parameters())
    dtype = request.dtype or _stored_dtype(model)
    with (
        untouched(model, request.seed) as pairs,
        _quietly(),
        _uncompiled(),
        precision(dtype, first.device, first.dtype),
    ):
        yield pairs


def _uncompiled() -> contextlib.AbstractContextManager[object]:
    """Compiled modules run as they are written: the compiler would look into our hooks."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """What warns here would warn in training, which is not what was asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _loaded(plan: Plan | None) -> frozenset[str]:
    """The tensors that a checkpoint gave."""
    items = () if plan is None else plan.parameters.items()
    return frozenset(name for name, each in items if isinstance(each.value, (FromCheckpoint, Adapted)))


def _stored_dtype(model: nn.Module) -> str:
    """The type of most of the weights."""
    counts: dict[str, int] = {}
    for each in model.parameters():
        name = str(each.dtype).removeprefix("torch.")
        counts[name] = counts.get(name, 0) + each.numel()
    return max(counts, key=lambda name: counts[name])


def usual_values(model: nn.Module, plan: Plan | None) -> Mapping[str, Shadowed]:
    """What the constructors of torch's layers write, of tensors that no rule reaches."""
    names = named_tensors(model)
    try:
        return meta_defaults(names, _unreached(names, plan)).writes
    except InitcfgError:
        return {}


def _unreached(names: Names, plan: Plan | None) -> list[Entry]:
    """The parameters that no rule reaches and of which the plan knows no default."""
    return [
        entry
        for entry in names.parameters
        if plan is None
        or entry.name not in plan
        or (isinstance(plan[entry.name].value, Keep) and plan[entry.name].default is None)
    ]


def _evidence(model: nn.Module, task: Task, request: Request, dtype: str, stored: str) -> Evidence:
    seen = observed(model, task)
    multiplied = frozenset(each.name for each in seen.layers)
    tensors = tensors_seen(model, request.optimizer, request.rate, multiplied)
    names = named_tensors(model)
    canonical = {name: entry.name for entry in names.parameters for name in entry.names}
    inputs = tuple(
        (each.float().mean().item(), each.float().std().item()) for each in seen.inputs if each.numel() > 1
    )
    seen.inputs = []
    sound = math.isfinite(seen.loss) and not seen.broken
    parameters = {id(tensor): entry.name for entry in names.parameters for tensor in entry.stored}
    return Evidence(
        seen,
        tensors,
        canonical,
        norm_of(model),
        lr=request.rate,
        lr_given=request.lr is not None,
        steps=request.steps,
        dtype=dtype,
        stored=stored,
        inputs=() if task.synthetic else inputs,
        numbers={"loss": seen.loss},
        broken=None if sound else first_broken(model, task, parameters),
        bad_batch=None if sound else task.not_finite(),
    )


def _train(
    model: nn.Module, pairs: Pairs, task: Task, request: Request, evidence: Evidence, first: torch.Tensor
) -> None:
    """The steps that tell what a look at the start cannot."""
    if not (math.isfinite(evidence.seen.loss) and math.isfinite(evidence.gradient_norm)):
        return
    evidence.alive = _alive(model, pairs, task)
    if not request.steps:
        return
    scaled = evidence.dtype == "float16" and first.device.type == "cuda" and first.dtype == torch.float32
    runs: list[ProbeRun] = []
    for share in _THIRD:
        with seeded(request.seed, "probe"):
            lr = request.rate * share
            run = probed(
                model, pairs, task, optimizer=request.optimizer, lr=lr, steps=request.steps, scaled=scaled
            )
        runs.append(run)
    evidence.probe = tuple(runs)


def _alive(model: nn.Module, pairs: Pairs, task: Task) -> set[str]:
    start_again(model, pairs)
    stored = {entry.name: entry.stored for entry in named_tensors(model).parameters}
    return moving(model, task, stored)


def _mended(
    model: nn.Module,
    pairs: Pairs,
    task: Task,
    request: Request,
    evidence: Evidence,
    findings: list[Finding],
) -> list[Finding]:
    """Each finding with the first rule that removes it; rules that were tried for another are tried first."""
    working: list[dict[str, Any]] = []
    result: list[Finding] = []
    for finding in findings:
        tell(f"trying what mends {finding.code}")
        rules = proposals(finding, evidence)
        known = next((rule for rule in rules if rule in working), None)
        found = known
        for rule in [] if known is not None else rules[:_MOST_MENDS]:
            if _removes(model, pairs, task, request, evidence, finding, rule, findings):
                found = rule
                working.append(rule)
                break
        result.append(finding if found is None else replace(finding, mend=found))
    return result


def _removes(
    model: nn.Module,
    pairs: Pairs,
    task: Task,
    request: Request,
    evidence: Evidence,
    finding: Finding,
    rule: Mapping[str, Any],
    before: Sequence[Finding],
) -> bool:
    """Whether a rule removes a finding, and brings no other."""
    start_again(model, pairs)
    if RATE in rule:
        return _removed_by_rate(model, pairs, task, request, evidence, finding, rule[RATE], before)
    try:
        if not apply_mend(model, rule, request.seed):
            return False
        after = _evidence(model, task, request, evidence.dtype, evidence.stored)
        if finding.code == "dead-parameter":
            stored = {entry.name: entry.stored for entry in named_tensors(model).parameters}
            after.alive = moving(model, task, stored)
    except InitcfgError:
        # A model may fail with a rule that nobody has written yet.
        return False
    found = found_in(after)
    if finding.code in {each.code for each in found}:
        return False
    # Behind numbers that are not finite there may be more to find, which has nothing to do with the rule.
    known = {each.code for each in before}
    return finding.code.startswith("nonfinite") or all(
        each.level == "info" or each.code in known for each in found
    )


def _removed_by_rate(
    model: nn.Module,
    pairs: Pairs,
    task: Task,
    request: Request,
    evidence: Evidence,
    finding: Finding,
    lr: float,
    before: Sequence[Finding],
) -> bool:
    """Whether another learning rate removes a finding, in as many steps, and brings no other."""
    other = replace(request, lr=lr)
    after = _evidence(model, task, other, evidence.dtype, evidence.stored)
    if request.steps:
        with seeded(request.seed, "probe"):
            after.probe = (
                probed(model, pairs, task, optimizer=request.optimizer, lr=lr, steps=request.steps),
            )
    elif finding.code.startswith("probe"):
        return False
    known = {each.code for each in before}
    found = found_in(after)
    return not any(each.code in OF_RATE for each in found) and all(
        each.level == "info" or each.code in known for each in found
    )


def _measures(evidence: Evidence, known: Mapping[str, Origin]) -> Measures:
    seen = evidence.seen
    layers: dict[str, LayerSeen] = {}
    for each in seen.layers:
        layers.setdefault(each.name, each)
    order = {name: place for place, name in enumerate(layers)}
    tensors = [
        _measure(each, layers.get(each.name) or layers.get(each.module), known)
        for each in evidence.tensors.values()
    ]
    # Of modules that did not run as layers, the order is that of their registration.
    place, last = {}, 0
    for each in evidence.tensors.values():
        last = order.get(each.module, order.get(each.name, last))
        place[each.name] = last
    tensors.sort(key=lambda each: place[each.name])
    blocks = [BlockMeasure(each.name, each.rms, each.gradient_rms) for each in seen.blocks]
    if not blocks:
        blocks = [BlockMeasure(each.name, each.rms, each.gradient_rms) for each in seen.layers]
    return Measures(
        tuple(tensors),
        tuple(blocks),
        seen.entering,
        tuple(AttentionMeasure(each.module, each.entropies) for each in seen.heads),
        tuple(UnitMeasure(each.module, each.kind, each.share) for each in seen.units),
        # A NaN that an operation made may have a sign, which tells nothing.
        {name: math.nan if math.isnan(each) else each for name, each in evidence.numbers.items()},
        evidence.probe,
    )


def _measure(tensor: TensorSeen, layer: LayerSeen | None, known: Mapping[str, Origin]) -> TensorMeasure:
    origin = known.get(tensor.name)
    return TensorMeasure(
        tensor.name,
        tensor.module,
        tensor.shape,
        tensor.rms,
        tensor.gradient_rms,
        tensor.update,
        layer.rms if layer else None,
        layer.gradient_rms if layer else None,
        origin.rule if origin else None,
        origin.source if origin else None,
        origin.value if origin else None,
        tensor.edges,
        tensor.histogram,
    )
