"""A traced plan's memory of the code: what apply needs beyond the values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from initcfg._model import Entry, local_blocks, named_tensors
from initcfg._record.isolation import others_kept, shadowed
from initcfg._record.recorded import recorded
from initcfg._record.recording import Recorder, Region, TrackedStorage, region_of, tensor_at
from initcfg._stream.writing import narrowed, seeded
from initcfg.errors import ApplyError

TracedTensor = tuple[str, TrackedStorage, Region]
"""The name of a tensor of the traced model, and where it lies in the record."""


@dataclass(eq=False)
class TraceRecord:
    """What a trace leaves behind.

    Attributes:
        run: The code; it returns the model.
        existing: The model that was there before, for code that initializes one.
        model: The model of the trace, never written.
        tensors: The tensors of the model, in the order of its entries.
        again: Why the log cannot be done again; None if it can.
    """

    run: Callable[[], nn.Module]
    existing: nn.Module | None
    model: nn.Module
    recorder: Recorder
    tensors: list[TracedTensor]
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

    def opaque(self, names: Iterable[str], entries: dict[str, Entry], seed: int) -> None:
        """Fill the tensors that only the code itself can, by running it, with a generator of this seed."""
        wanted = set(names)
        with (
            torch.no_grad(),
            others_kept(seed),
            seeded(seed, ""),
            recorded(self.existing, own_generator=False) as recording,
        ):
            with torch.enable_grad(), recording.code():
                model = self.run()
            found = [each for each in _distinct(model) if each.name in wanted]
            recorder = recording.recorder
            recorder.compute(recorder.all_tracked(tensor for each in found for tensor in each.stored))
            for entry in found:
                for target, tensor in zip(entries[entry.name].stored, entry.stored, strict=True):
                    for piece, block in local_blocks(target):
                        piece.copy_(narrowed(tensor.detach(), block.offsets, piece.shape))

    def _run_for_real(self, entries: dict[str, Entry]) -> list[str]:
        existing = self.existing
        context = contextlib.nullcontext() if existing is None else shadowed(existing, copied=True)
        with context, torch.enable_grad():
            made = _distinct(self.run())
            with torch.no_grad():
                for entry in made:
                    for target, tensor in zip(entries[entry.name].stored, entry.stored, strict=True):
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
