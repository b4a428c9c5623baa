"""Filling: how values come into tensors, from the stream or from torch's own generator, now or later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import torch

from initcfg._apply.collective import Together
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._model import is_sharded, local_blocks, place_of, storage_of
from initcfg._plan import Loaded, Write
from initcfg._record import waits
from initcfg._record.recording import CodeRecorder, Session, WaitingWrite
from initcfg._stream.bits import Recipe
from initcfg._stream.writing import Batch, StreamWriter, fill_stream, fill_torch, seeded
from initcfg.values import FromBatch, FromCheckpoint, Normal, Value


class Filler(Protocol):
    """Fills tensors with values."""

    # Whether each draw moves a generator: then what no tensor shows is drawn, too.
    in_order: bool = False
    # Whether the plan that is being carried out is to be what the original makes, also of torch's generator.
    original: bool = False
    # Whether it tells a record of code what is written, in place of writing.
    recorded: bool = False

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Fill a tensor, at the latest by :meth:`flush`; what was read of a checkpoint.

        ``write`` is the write of the plan that this is, or None for scratch.
        """
        ...

    def fill_plain(self, tensor: torch.Tensor, value: Value, name: str) -> bool:
        """Fill a tensor that is one run of this machine's memory, if it can be; whether so."""
        return False

    def kind(self, value: Value, dtype: torch.dtype) -> tuple[str, Recipe] | None:
        """What of a value a batch needs, if tensors can be filled with it in batches."""
        return None

    def fill_batch(self, batch: Batch, first: int) -> int:
        """Queue the tensors of a batch from ``first`` on; where those begin that are to be filled next."""
        return first

    def flush(self) -> None:
        """Do what was queued, before user code looks."""

    def finish(self) -> None:
        """Do everything: the tape has ended."""
        self.flush()

    def around_code(self, module: str) -> contextlib.AbstractContextManager[Mapping[str, Value]]:
        """The context that user code of a module runs in; the values that it means, once it has run."""
        return contextlib.nullcontext({})

    def tensors_changed(self, stored: Iterable[tuple[str, torch.Tensor]]) -> None:
        """User code put other tensors into the model, or other memory: these are the model's now."""


class StreamFiller(Filler):
    """From the stream: seed, name and index decide every number."""

    def __init__(
        self, checkpoints: PlannedCheckpoints, seed: int, progress: Callable[[int], None] | None = None
    ) -> None:
        self._checkpoints = checkpoints
        self._checkpoints.around_code = self.around_code
        self.seed = seed
        self.writer = StreamWriter(seed, progress=progress)
        self.together: Together | None = None
        """Who makes orthogonal matrices together with the other ranks."""

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Queue the value, block by block where the tensor is sharded; or read it at once."""
        if self.together is None and self.writer.add_plain(tensor, value, name):
            return None
        if isinstance(value, FromBatch):
            # What the batch makes of it follows when everything is written.
            value = value.value
        if isinstance(value, FromCheckpoint):

            def draw(shape: tuple[int, ...]) -> torch.Tensor:
                made = torch.empty(shape, device="cpu")
                fill_stream(made, Normal(0.0, 1.0), seed=self.seed, name=name)
                return made

            return self._checkpoints.load(tensor, value, name, draw)
        # Not of scratch, which is read at once.
        if self.together is not None and write is not None and self.together.takes(tensor, value, name):
            self.writer.aside = self.together.add
        try:
            if is_sharded(tensor):
                for piece, block in local_blocks(tensor):
                    self.writer.add(piece, value, name, block=block)
                torch.autograd.graph.increment_version(tensor)
            else:
                self.writer.add(tensor, value, name)
        finally:
            self.writer.aside = None
        return None

    def fill_plain(self, tensor: torch.Tensor, value: Value, name: str) -> bool:
        """Queue the value, if its elements are independent."""
        return self.together is None and self.writer.add_memory(tensor, value, name)

    def kind(self, value: Value, dtype: torch.dtype) -> tuple[str, Recipe] | None:
        """As the kernel is told, if the elements are independent."""
        return None if self.together is not None else self.writer.kind(value, dtype)

    def fill_batch(self, batch: Batch, first: int) -> int:
        """Queue as many as can wait for others."""
        return self.writer.add_batch(batch, first)

    def flush(self) -> None:
        """Do what was queued."""
        self.writer.flush()

    def finish(self) -> None:
        """Do everything, together with the other ranks what is made so."""
        self.flush()
        if self.together is not None:
            self.together.make(self.writer.wrote)

    @contextlib.contextmanager
    def around_code(self, module: str) -> Iterator[Mapping[str, Value]]:
        """What user code draws comes from a generator that is seeded by its module's name."""
        with seeded(self.seed, module):
            yield {}


class TorchFiller(Filler):
    """From torch's global generator, draw by draw in the original's order, as torch or the original draws."""

    in_order = True

    def __init__(self, checkpoints: PlannedCheckpoints) -> None:
        self._checkpoints = checkpoints

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Fill it at once."""
        if isinstance(value, FromCheckpoint):
            return self._checkpoints.load(tensor, value, name, torch.randn)
        fill_torch(tensor, value, original=self.original)
        return None


class WaitingFiller(Filler):
    """A filler under the stream that puts off what a model's own code may overwrite, or read.

    There the order of writes does not matter but where code looks. So a tensor that code may still write is
    filled at the end, once; if code reads it, it is filled just then.
    ``default`` takes a pending tensor's default, to be written now; ``note_sampler`` is told of each call of
    a sampler in user code.
    """

    def __init__(
        self,
        filler: Filler,
        tensors: Iterable[tuple[str, torch.Tensor]],
        default: Callable[[torch.Tensor, str], Value | None],
        note_sampler: Callable[[torch.Tensor, str], None],
    ) -> None:
        self._filler = filler
        self._tensors = _by_storage(tensors)
        self._default = default
        self._note_sampler = note_sampler
        self._waiting: dict[int, WaitingWrite] = {}
        self._recorder: CodeRecorder | None = None

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Put a write of the plan off, or do it where it cannot wait."""
        if write is None:
            return self._filler.fill(tensor, value, name)
        storage = storage_of(tensor)
        if isinstance(value, FromCheckpoint) or len(self._tensors.get(storage, ())) != 1:
            self._waiting.pop(storage, None)
            if self._recorder is not None:
                self._recorder.make_real(tensor)
            return self._filler.fill(tensor, value, name)
        # Of the memory as it is now: code may give the tensor another.
        waiting = WaitingWrite(tensor.detach(), value, name)
        if self._recorder is not None and self._recorder.has(tensor):
            self._recorder.plan(waiting)
        else:
            self._waiting[storage] = waiting
        return None

    def flush(self) -> None:
        """Do what was queued; what waits goes on waiting."""
        self._filler.flush()

    def finish(self) -> None:
        """Do what waits."""
        for waiting in self._waiting.values():
            self._filler.fill(*waiting)
        self._waiting.clear()
        self._filler.flush()

    def tensors_changed(self, stored: Iterable[tuple[str, torch.Tensor]]) -> None:
        """What waits is for memory, and goes with it: to another tensor, or to nobody."""
        before, self._tensors = self._tensors, _by_storage(stored)
        for storage, waiting in list(self._waiting.items()):
            found = self._tensors.get(storage, [])
            if len(found) == 1 and place_of(found[0][1]).region == place_of(waiting.tensor).region:
                self._waiting[storage] = WaitingWrite(found[0][1].detach(), waiting.value, found[0][0])
                continue
            del self._waiting[storage]
            if found:
                self._write_now(waiting.tensor, waiting)
        if self._recorder is not None:
            new = [
                each[0]
                for storage, each in self._tensors.items()
                if len(each) == 1 and _names(each) != _names(before.get(storage, []))
            ]
            self._recorder.take_in(new, gone=before.keys() - self._tensors.keys())

    @contextlib.contextmanager
    def around_code(self, module: str) -> Iterator[Mapping[str, Value]]:
        """What code writes is recorded, and what it means waits like the rest."""
        meant: dict[str, Value] = {}
        with self._filler.around_code(module):
            if self._recorder is not None:
                # Code that called for rules, in which there is code again.
                yield meant
                return
            self._recorder = recorder = CodeRecorder(self._look_up, self._write_now)
            try:
                with Session(recorder, on_sampler=self._note_sampler) as session:
                    yield meant
                    running = session.followed.end()
                    waiting, found = recorder.finish()
            finally:
                self._recorder = None
            meant.update(found)
            self._waiting.update((storage_of(each.tensor), each) for each in waiting)
            if running:
                # What waits would be written over what these threads write meanwhile.
                self.finish()

    def _look_up(self, storage: int) -> tuple[torch.Tensor, str, WaitingWrite | None] | None:
        """The tensor of a storage that code touches, with the write that it waits for."""
        found = self._tensors.get(storage, ())
        if len(found) != 1:
            for name, tensor in found:
                if (waiting := self._waiting_default(tensor, name)) is not None:
                    self._write_now(tensor, waiting)
            return None
        name, tensor = found[0]
        if storage_of(tensor) != storage:
            # The code has given the tensor other memory, and goes on using this one.
            if (waiting := self._waiting.pop(storage, None)) is not None:
                self._write_now(waiting.tensor, waiting)
            return None
        return tensor, name, self._waiting.pop(storage, None) or self._waiting_default(tensor, name)

    def _waiting_default(self, tensor: torch.Tensor, name: str) -> WaitingWrite | None:
        value = self._default(tensor, name) if waits(tensor) else None
        return None if value is None else WaitingWrite(tensor, value, name)

    def _write_now(self, tensor: torch.Tensor, waiting: WaitingWrite) -> None:
        with torch.no_grad():
            self._filler.fill(tensor, waiting.value, waiting.name)
            self._filler.flush()


def _names(found: list[tuple[str, torch.Tensor]]) -> list[str]:
    return [name for name, _ in found]


def _by_storage(stored: Iterable[tuple[str, torch.Tensor]]) -> dict[int, list[tuple[str, torch.Tensor]]]:
    found: dict[int, list[tuple[str, torch.Tensor]]] = {}
    for name, tensor in stored:
        found.setdefault(storage_of(tensor), []).append((name, tensor))
    return found
