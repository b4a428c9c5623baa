"""A traced plan's memory of the code: what apply needs beyond the values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from initcfg._model import Entry, local_blocks, named_tensors
from initcfg._record.recording import Held, Recorder, Region, Session, region_of, tensor_at
from initcfg._record.tracing import others_kept, shadowed
from initcfg._stream.writing import narrowed, seeded
from initcfg.errors import ApplyError


class Lying(NamedTuple):
    """Where a tensor of the traced model lies in the record."""

    name: str
    held: Held
    region: Region


@dataclass(eq=False)
class Record:
    """What a trace leaves behind.

    Attributes:
        run: The code; it returns the model.
        existing: The model that was there before, for code that initializes one.
        model: The model of the trace, never written.
        recorder: The log.
        lying: The tensors of the model, in the order of its entries.
        again: Why the log cannot be done again; None if it can.
    """

    run: Callable[[], nn.Module]
    existing: nn.Module | None
    model: nn.Module
    recorder: Recorder
    lying: list[Lying]
    again: str | None

    def replay(self, entries: dict[str, Entry]) -> list[str]:
        """Fill a model from torch's generator, as the code itself would.

        Returns:
            Names of the tensors that were written.
        """
        if self.again is not None:
            return self._run_for_real(entries)
        bound: dict[int, torch.UntypedStorage] = {}
        moved: list[tuple[torch.Tensor, Held, Region]] = []
        written: list[str] = []
        for name, target, held, region in self._pairs(entries):
            if not held.writers and not held.foreign:
                if held.before and id(held) not in bound:
                    bound[id(held)] = _memory_with(target, held, region)
                continue
            written.append(name)
            if id(held) in bound:
                moved.append((target, held, region))
            elif held.writers and _fits(target, held, region):
                bound[id(held)] = target.untyped_storage()
                torch.autograd.graph.increment_version(target)
            else:
                bound[id(held)] = _memory_with(target, held, region)
                if held.data is not None:
                    bound[id(held)].copy_(held.data.untyped_storage())
                moved.append((target, held, region))
        self.recorder.log.replay(bound)
        for target, held, region in moved:
            if bound[id(held)] is not target.untyped_storage():
                target.copy_(tensor_at(bound[id(held)], region))
        return written

    def opaque(self, names: Iterable[str], entries: dict[str, Entry], seed: int) -> None:
        """Fill the tensors that only the code itself can, by running it, with a generator of this seed."""
        wanted = set(names)
        recorder = Recorder()
        with (
            torch.enable_grad(),
            others_kept(seed),
            seeded(seed, ""),
            self._model_of(recorder) as model,
            torch.no_grad(),
        ):
            found = [entry for entry in named_tensors(model).entries.values() if entry.name in wanted]
            pairs = [(entry.name, tensor) for entry in dict.fromkeys(found) for tensor in entry.stored]
            recorder.compute([held for _, each in pairs if (held := recorder.held_by(each)) is not None])
            made = {(name, index): tensor for index, (name, tensor) in enumerate(pairs)}
            numbers: dict[str, list[torch.Tensor]] = {}
            for (name, _), tensor in made.items():
                numbers.setdefault(name, []).append(tensor.detach())
            for name, tensors in numbers.items():
                for target, tensor in zip(entries[name].stored, tensors, strict=True):
                    for piece, block in local_blocks(target):
                        piece.copy_(narrowed(tensor, block.offsets, piece.shape))

    @contextlib.contextmanager
    def _model_of(self, recorder: Recorder) -> Iterator[nn.Module]:
        """The model that the code makes once more, recorded."""
        if self.existing is None:
            with Session(recorder):
                model = self.run()
            yield model
            return
        with shadowed(self.existing) as own:
            adopt(recorder, own)
            with Session(recorder):
                model = self.run()
            yield model

    def _run_for_real(self, entries: dict[str, Entry]) -> list[str]:
        context: Any = (
            contextlib.nullcontext() if self.existing is None else shadowed(self.existing, copied=True)
        )
        written: list[str] = []
        with context, torch.enable_grad():
            made = named_tensors(self.run())
            with torch.no_grad():
                for entry in dict.fromkeys(made.entries.values()):
                    for target, tensor in zip(entries[entry.name].stored, entry.stored, strict=True):
                        target.copy_(tensor)
                    written.append(entry.name)
        return written

    def _pairs(self, entries: dict[str, Entry]) -> Iterator[tuple[str, torch.Tensor, Held, Region]]:
        count: dict[str, int] = {}
        for name, held, region in self.lying:
            place = count[name] = count.get(name, -1) + 1
            stored = entries[name].stored
            if place >= len(stored):
                raise ApplyError(
                    "The traced model and this one are parametrized in different ways.", parameter=name
                )
            yield name, stored[place], held, region


def adopt(recorder: Recorder, own: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Let a recorder know the tensors that were there before, and where their numbers are."""
    for tensor, original in own:
        recorder.know(tensor, original)


def _memory_with(target: torch.Tensor, held: Held, region: Region) -> torch.UntypedStorage:
    """Memory for the operations, which holds what the target does where they begin with that."""
    if held.before and _fits(target, held, region):
        return target.untyped_storage()
    assert held.storage is not None
    memory = torch.UntypedStorage(held.storage.nbytes())
    if held.before:
        tensor_at(memory, region).copy_(target)
    return memory


def _fits(target: torch.Tensor, held: Held, region: Region) -> bool:
    """Whether the operations can be done in the target's own memory."""
    return (
        target.device.type == "cpu"
        and region_of(target) == region
        and held.storage is not None
        and target.untyped_storage().nbytes() == held.storage.nbytes()
    )
