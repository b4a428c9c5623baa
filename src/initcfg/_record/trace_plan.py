"""From what was recorded of a model's code to its plan, and to what apply needs beyond the values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from initcfg._model import Entry, is_sharded, local_blocks, named_tensors, unwrapped
from initcfg._plan import Assignment, MakeUp, Plan, changed_make_up, make_up_of
from initcfg._plan.planner import layouts_of
from initcfg._record.isolation import others_kept, shadowed
from initcfg._record.recorded import Recording, recorded
from initcfg._record.recording import (
    COMPUTED_OTHERWISE,
    Outcome,
    Recorder,
    Region,
    TrackedStorage,
    is_plain,
    named_values,
    outcomes_of,
    region_of,
    tensor_at,
)
from initcfg._stream.writing import narrowed, seeded
from initcfg.errors import ApplyError
from initcfg.values import Constant, Keep, Layout, Opaque, Value, dtype_name


def plan_of(
    model: nn.Module,
    recording: Recording,
    run: Callable[[], nn.Module],
    existing: nn.Module | None,
    before: MakeUp | None,
) -> Plan:
    """The plan of code (``run``) that made a model, or initialized an existing one of this make-up."""
    model, recorder = unwrapped(model), recording.recorder
    names = named_tensors(model)
    names.refuse_lazy()
    entries = list(dict.fromkeys(names.entries.values()))
    stored = [
        (entry.name, tensor, recorder.track_foreign(tensor)) for entry in entries for tensor in entry.stored
    ]
    outcomes = outcomes_of(recorder, {each.name: each.stored[-1] for each in entries})
    outcomes = {each.name: _outcome(each, outcomes[each.name]) for each in entries}
    values = named_values(outcomes.items())
    notes = _not_planned(entries, recorder)
    notes += [
        f"at {place} code looks at random numbers: what it does after may be otherwise for others"
        for place in dict.fromkeys(step.seen for step in recorder.log.steps if step.seen)
    ]
    built = [each for each in entries if existing is None and 0 not in each.shape]
    unwritten = [each for each in built if not outcomes[each.name].written]
    workspace = {each.name for each in unwritten if each.buffer and is_plain(each.tensor)}
    if workspace:
        listed = ", ".join(sorted(workspace))
        notes.append(f"memory that the code leaves as torch.empty gives it is filled with zeros: {listed}")
    notes += recording.notes()
    layouts = layouts_of(names)
    return Plan(
        parameters={
            each.name: _assignment(each, outcomes[each.name], values, layouts.get(each.name))
            for each in names.parameters
        },
        buffers={
            each.name: replace(made, value=Constant(0.0)) if each.name in workspace else made
            for each in names.buffers
            if outcomes[each.name].written or each.name in workspace
            for made in (_assignment(each, outcomes[each.name], values),)
        },
        aliases=names.aliases,
        uninitialized=tuple(each.name for each in unwritten if not each.buffer),
        partly_written=tuple(each.name for each in built if not each.buffer and outcomes[each.name].partly),
        before_code={} if before is None else changed_make_up(before, make_up_of(names)),
        notes=tuple(notes),
        record=TraceRecord(
            run,
            existing,
            model,
            recorder,
            [(name, tracked, region_of(tensor)) for name, tensor, tracked in stored if tracked is not None],
            next(_obstacles(recording, stored), None),
        ),
    )


def _not_planned(entries: list[Entry], recorder: Recorder) -> list[str]:
    """What the plan leaves as the model has it, and what may have been computed from the same numbers."""
    left = [each for each in entries if each.tensor.layout is not torch.strided or each.tensor.is_quantized]
    if not left:
        return []
    stored = {each.name: recorder.all_tracked(each.stored) for each in entries if each not in left}
    partners = recorder.log.sharing({**stored, None: recorder.unfollowed}, [None])
    told = f", and no longer fits {', '.join(str(name) for name in partners)}" if partners else ""
    return [
        f"{each.name} is sparse or quantized: the plan leaves it as the model has it{told}." for each in left
    ]


def _obstacles(
    recording: Recording, stored: list[tuple[str, torch.Tensor, TrackedStorage | None]]
) -> Iterator[str]:
    """Why the log cannot be done again."""
    if recording.torch_moved():
        yield "torch's generator moves where a trace does not see it (in another thread?)"
    for name, tensor, tracked in stored:
        if tracked is None or not is_plain(tensor):
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
    if all(name in ("_WeightNorm", "_SpectralNorm") for name in _parametrizations(entry)):
        # Written through the parametrization, it makes its parts again as it made them.
        return last
    return Outcome(None, parametrized_reason(entry), last.layer)


def parametrized_reason(entry: Entry) -> str:
    """Why a parametrized weight has no value: it is stored as something else."""
    return f"it is parametrized by {', '.join(_parametrizations(entry))}"


def _parametrizations(entry: Entry) -> list[str]:
    assert entry.holder is not None
    module, attribute = entry.holder
    return [type(each).__name__ for each in module.parametrizations[attribute]]  # type: ignore


def _assignment(
    entry: Entry, outcome: Outcome, values: dict[str, Value], layout: Layout | None = None
) -> Assignment:
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
        rule=f"{layer.place} {layer.code}{outcome.then}" if layer is not None and outcome.written else None,
        frozen=not entry.buffer and not entry.tensor.requires_grad,
        layout=layout,
    )


TracedTensor = tuple[str, TrackedStorage, Region]
"""The name of a tensor of the traced model, and where it lies in the record."""


@dataclass(eq=False)
class TraceRecord:
    """What a trace leaves behind."""

    run: Callable[[], nn.Module]
    # What was there before, for code that initializes it.
    existing: nn.Module | None
    # Of the trace, never written.
    model: nn.Module
    recorder: Recorder
    # In the order of the model's entries.
    tensors: list[TracedTensor]
    # Why the log cannot be done again; None if it can.
    again: str | None

    def replay(self, entries: dict[str, Entry]) -> list[str]:
        """Fill a model from torch's generator, as the code itself would; the names of what was written."""
        if self.again is not None:
            return self._run_for_real(entries)
        bound: dict[int, torch.UntypedStorage] = {}
        written: list[tuple[torch.Tensor, TracedTensor]] = []
        for target, traced in self._pairs(entries):
            _, tracked, region = traced
            made = bool(tracked.writers) or tracked.foreign
            if id(tracked) not in bound and (made or tracked.before):
                bound[id(tracked)] = _memory_for(target, tracked, region)
            if made:
                written.append((target, traced))
        self.recorder.log.replay(bound)
        for target, (_, tracked, region) in written:
            if bound[id(tracked)] is not target.untyped_storage():
                target.copy_(tensor_at(bound[id(tracked)], region))
        return [name for _, (name, *_) in written]

    def opaque(
        self, names: Collection[str], entries: Mapping[str, Entry], written: Collection[str], seed: int
    ) -> None:
        """Fill those written of the tensors that only the code itself can, with a generator of this seed.

        It runs once, and computes all of these tensors, so that what is written does not decide what is
        drawn; what it finds in the model is what the entries hold.
        """
        made: list[tuple[torch.Tensor, torch.Tensor]] = []
        with (
            torch.no_grad(),
            others_kept(seed),
            seeded(seed, ""),
            recorded(self.existing, own_generator=False) as recording,
        ):
            recorder = recording.recorder
            sharded = self._begin_with(recorder, entries)
            with torch.enable_grad(), recording.code():
                model = self.run()
            found = [each for each in _distinct(model) if each.name in names]
            stored = recorder.all_tracked(tensor for each in found for tensor in each.stored)
            for tracked in stored:
                for name in filter(None, map(sharded.get, recorder.log.beginnings(tracked))):
                    raise ApplyError(
                        "The code computes from what this tensor holds, and it is sharded: no rank holds the "
                        "whole.",
                        parameter=name,
                        fix="Initialize the model before it is sharded.",
                    )
            recorder.compute(stored)
            for entry in found:
                if entry.name in written:
                    here = [tensor.detach() for tensor in entry.stored]
                    made += zip(entries[entry.name].stored, here, strict=True)
        with torch.no_grad():
            for target, tensor in made:
                for piece, block in local_blocks(target):
                    piece.copy_(narrowed(tensor, block.offsets, piece.shape))

    def _begin_with(self, recorder: Recorder, entries: Mapping[str, Entry]) -> dict[TrackedStorage, str]:
        """Let the code find in the model what the entries hold; those that no rank holds whole, by name."""
        sharded: dict[TrackedStorage, str] = {}
        copies: dict[TrackedStorage, torch.UntypedStorage] = {}
        for entry in () if self.existing is None else _distinct(self.existing):
            for target, tensor in zip(entries[entry.name].stored, entry.stored, strict=True):
                tracked = recorder.tracked(tensor)
                if tracked is None or tracked.storage is None or target is tensor:
                    continue
                if is_sharded(target):
                    sharded[tracked] = entry.name
                    continue
                size, region = tracked.storage.nbytes(), region_of(tensor)
                tracked.original = target.untyped_storage()
                alike = target.device.type == "cpu" and region_of(target) == region
                if not alike or tracked.original.nbytes() != size:
                    tracked.original = copies.setdefault(tracked, torch.UntypedStorage(size))
                    tensor_at(tracked.original, region).copy_(target)
        return sharded

    def _run_for_real(self, entries: dict[str, Entry]) -> list[str]:
        existing = self.existing
        memory = {name: _memory_of(entry) for name, entry in entries.items()}
        context = contextlib.nullcontext() if existing is None else shadowed(existing, copied=True)
        with context, torch.enable_grad():
            made = _distinct(self.run())
            with torch.no_grad():
                for entry in made:
                    for target, tensor in zip(memory[entry.name], entry.stored, strict=True):
                        target.copy_(tensor)
        return [entry.name for entry in made]

    def _pairs(self, entries: dict[str, Entry]) -> Iterator[tuple[torch.Tensor, TracedTensor]]:
        """The tensors of a model, each with where its counterpart lies."""
        remaining = {name: iter(entries[name].stored) for name, *_ in self.tensors}
        for traced in self.tensors:
            name = traced[0]
            target = next(remaining[name], None)
            if target is None:
                raise ApplyError(
                    "The traced model and this one are parametrized in different ways.",
                    parameter=name,
                    fix="Trace the code that builds this model.",
                )
            yield target, traced


def _memory_of(entry: Entry) -> list[torch.Tensor]:
    """The memory of a tensor: in the model that was traced it is another while the code runs."""
    return [each.detach() for each in entry.stored]


def _distinct(model: nn.Module) -> list[Entry]:
    return list(dict.fromkeys(named_tensors(model).entries.values()))


def _memory_for(target: torch.Tensor, tracked: TrackedStorage, region: Region) -> torch.UntypedStorage:
    """Memory for the operations, with what they begin with; the target's own if they can be done there."""
    assert tracked.storage is not None
    size = tracked.storage.nbytes()
    here = target.device.type == "cpu" and region_of(target) == region
    if here and target.untyped_storage().nbytes() == size and (tracked.before or tracked.writers):
        memory = target.untyped_storage()
        if tracked.writers:
            torch.autograd.graph.increment_version(target)
    else:
        memory = torch.UntypedStorage(size)
        if tracked.before:
            tensor_at(memory, region).copy_(target)
    if tracked.data is not None:
        memory.copy_(tracked.data.untyped_storage())
    return memory
