"""From what was recorded of a model's code to its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from initcfg._model import Entry, named_tensors, unwrapped
from initcfg._plan import Assignment, Plan
from initcfg._record.recorded import Recording
from initcfg._record.recording import (
    COMPUTED_OTHERWISE,
    Outcome,
    TrackedStorage,
    named_values,
    outcomes_of,
    region_of,
)
from initcfg._record.trace_record import TraceRecord
from initcfg.values import Keep, Opaque, Value, dtype_name


def plan_of(
    model: nn.Module, recording: Recording, run: Callable[[], nn.Module], existing: nn.Module | None
) -> Plan:
    """The plan of code (``run``) that made a model, or initialized an existing one."""
    model, recorder, generator = unwrapped(model), recording.recorder, recording.generator
    names = named_tensors(model)
    entries = list(dict.fromkeys(names.entries.values()))
    stored = [
        (entry.name, tensor, recorder.track_foreign(tensor)) for entry in entries for tensor in entry.stored
    ]
    outcomes = outcomes_of(recorder, {each.name: each.stored[-1] for each in entries})
    outcomes = {each.name: _outcome(each, outcomes[each.name]) for each in entries}
    values = named_values(outcomes.items())
    notes = [
        f"{each.name} is sparse or quantized: the plan leaves it as the model has it."
        for each in entries
        if each.tensor.layout is not torch.strided or each.tensor.is_quantized
    ]
    notes += [
        f"at {place} code looks at random numbers: what it does after may be otherwise for others"
        for place in dict.fromkeys(step.seen for step in recorder.log.steps if step.seen)
    ]
    if generator is not None and generator.touched is not None:
        notes.append(
            f"The code seeds torch's generator, or saves its state ({generator.touched}): under the "
            "stream the seed of apply decides instead, and draws that are repeated so are independent."
        )
    return Plan(
        parameters={each.name: _assignment(each, outcomes[each.name], values) for each in names.parameters},
        buffers={
            each.name: _assignment(each, outcomes[each.name], values)
            for each in names.buffers
            if outcomes[each.name].written
        },
        aliases=names.aliases,
        uninitialized=tuple(
            each.name for each in names.parameters if not outcomes[each.name].written and existing is None
        ),
        notes=tuple(notes),
        record=TraceRecord(
            run,
            existing,
            model,
            recorder,
            [(name, tracked, region_of(tensor)) for name, tensor, tracked in stored if tracked is not None],
            next(_obstacles(recording, [(name, tracked) for name, _, tracked in stored]), None),
        ),
    )


def _obstacles(recording: Recording, stored: list[tuple[str, TrackedStorage | None]]) -> Iterator[str]:
    """Why the log cannot be done again."""
    if recording.torch_moved():
        yield "torch's generator moves where a trace does not see it (in another thread?)"
    for name, tracked in stored:
        if tracked is None:
            yield f"{name} is not a plain tensor"
        elif tracked.exposed:
            yield f"the memory of {name} was handed out"
    for step in recording.recorder.log.steps:
        if step.hidden is not None:
            yield step.hidden
        if step.seen is not None:
            yield f"code looks at its random numbers ({step.seen})"
        operation = getattr(getattr(step.func, "_schema", None), "name", None)
        if operation in COMPUTED_OTHERWISE:
            yield f"torch computes {operation} in another way while it is recorded"
    if recording.others_moved():
        yield "it draws from Python's or NumPy's generator"
    if recording.generator is not None and recording.generator.touched is not None:
        yield f"it seeds torch's generator ({recording.generator.touched})"


def _outcome(entry: Entry, last: Outcome) -> Outcome:
    """What became of what a layer sees, by what became of the last tensor that it is stored as."""
    if entry.holder is None or not last.written:
        return last
    module, attribute = entry.holder
    chain = module.parametrizations[attribute]  # type: ignore[index]
    classes = [type(each).__name__ for each in chain]  # type: ignore[union-attr]
    if all(name in ("_WeightNorm", "_SpectralNorm") for name in classes):
        # Written through the parametrization, it makes its parts again as it made them.
        return last
    return Outcome(None, f"it is parametrized by {', '.join(classes)}", last.layer)


def _assignment(entry: Entry, outcome: Outcome, values: dict[str, Value]) -> Assignment:
    layer = outcome.layer
    value: Value = values.get(entry.name, Keep())
    if outcome.value is None and outcome.written:
        value = Opaque(f"{outcome.code}: {outcome.reason}", Keep())
    return Assignment(
        name=entry.name,
        shape=entry.shape,
        dtype=dtype_name(entry.tensor.dtype),
        value=value,
        initializer=None if outcome.value is None else outcome.call,
        rule=f"{layer.place} {layer.code}" if layer is not None and outcome.written else None,
        frozen=not entry.buffer and not entry.tensor.requires_grad,
    )
