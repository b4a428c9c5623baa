"""Filling: how values come into tensors, from the stream or from torch's own generator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch

from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._model import is_sharded, local_blocks
from initcfg._plan import Loaded, Write
from initcfg._stream.writing import StreamWriter, fill_stream, fill_torch, seeded
from initcfg.values import FromCheckpoint, Normal, Value


class Filler(Protocol):
    """Fills tensors with values."""

    # Whether each draw moves a generator: then what no tensor shows is drawn, too.
    in_order: bool = False

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Fill a tensor, at the latest by :meth:`flush`; what was read of a checkpoint.

        ``write`` is the write of the plan that this is, or None for scratch.
        """
        ...

    def flush(self) -> None:
        """Do what was queued, before user code looks."""

    def finish(self) -> None:
        """Do everything: the tape has ended."""
        self.flush()

    def around_code(self, module: str) -> contextlib.AbstractContextManager[Mapping[str, Value]]:
        """The context that user code of a module runs in; the values that it means, once it has run."""
        return contextlib.nullcontext({})


class StreamFiller(Filler):
    """From the stream: seed, name and index decide every number."""

    def __init__(
        self, checkpoints: PlannedCheckpoints, seed: int, progress: Callable[[int], None] | None = None
    ) -> None:
        self._checkpoints = checkpoints
        self._seed = seed
        self.writer = StreamWriter(seed, progress=progress)

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Queue the value, block by block where the tensor is sharded; or read it at once."""
        if isinstance(value, FromCheckpoint):

            def draw(shape: tuple[int, ...]) -> torch.Tensor:
                made = torch.empty(shape)
                fill_stream(made, Normal(0.0, 1.0), seed=self._seed, name=name)
                return made

            return self._checkpoints.load(tensor, value, draw)
        if is_sharded(tensor):
            for piece, block in local_blocks(tensor):
                self.writer.add(piece, value, name, block=block)
            torch.autograd.graph.increment_version(tensor)
        else:
            self.writer.add(tensor, value, name)
        return None

    def flush(self) -> None:
        """Do what was queued."""
        self.writer.flush()

    @contextlib.contextmanager
    def around_code(self, module: str) -> Iterator[Mapping[str, Value]]:
        """What user code draws comes from a generator that is seeded by its module's name."""
        with seeded(self._seed, module):
            yield {}


class TorchFiller(Filler):
    """From torch's global generator, draw by draw in the original's order."""

    in_order = True

    def __init__(self, checkpoints: PlannedCheckpoints) -> None:
        self._checkpoints = checkpoints

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Fill it at once."""
        if isinstance(value, FromCheckpoint):
            return self._checkpoints.load(tensor, value, torch.randn)
        fill_torch(tensor, value)
        return None
