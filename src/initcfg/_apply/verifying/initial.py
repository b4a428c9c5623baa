"""What a tensor began with: made again from seed and name, or read again from where it was loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from initcfg._apply.filling import StreamFiller
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._plan import Load
from initcfg.errors import CheckpointNotFoundError, InitcfgError
from initcfg.values import (
    Computed,
    Formula,
    FromBatch,
    FromCheckpoint,
    Hooked,
    Keep,
    Opaque,
    Originals,
    Value,
)


class UnknownError(Exception):
    """Nobody can say what a tensor began with; the text says why."""


class InitialValues:
    """What tensors began with.

    Args:
        loads: The accounts of the checkpoints that some were loaded from; their digests, where they are
            known, say what those files were.
        seed: The seed; None if there is none, and nothing is drawn.
        fetch: Whether a checkpoint may be fetched that is not on this machine.
    """

    def __init__(self, loads: Iterable[Load], seed: int | None, *, fetch: bool) -> None:
        self._loads = {load.source: load for load in loads}
        # Whether a file is what it was, is said here for each source, and is no error.
        opened = (
            # Without a digest, the files must be those that were planned with.
            replace(load, sha256=None, undigested=None, state=load.state if load.sha256 is None else None)
            for load in self._loads.values()
        )
        self._checkpoints = PlannedCheckpoints(
            load if fetch else replace(load, offline=True) for load in opened
        )
        self._seed = seed
        self._filler = StreamFiller(self._checkpoints, seed or 0)
        # Why a source is of no use, where it is not; None where it is.
        self._problems: dict[str, str | None] = {}

    def tensor(self, name: str, value: Value, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """What the tensor of this canonical name began with.

        Raises:
            UnknownError: Nobody can say it.
        """
        self.check(value)
        made = torch.empty(shape, dtype=dtype, device="cpu")
        try:
            with torch.no_grad():
                self._filler.fill(made, value, name)
                self._filler.flush()
        except (InitcfgError, KeyError) as error:
            if not isinstance(value, FromCheckpoint):
                raise
            raise UnknownError(f"from {value.source}: {_first_line(error)}") from error
        return made

    def close(self) -> None:
        """Let go of the checkpoints."""
        self._checkpoints.close()

    def check(self, value: Value) -> None:
        """Refuse what does not follow from seed and name, or from a checkpoint that is still there."""
        if isinstance(value, (Hooked, Originals)):
            raise UnknownError(f"from {value.source}, by code of the model's own")
        if isinstance(value, FromCheckpoint):
            problem = self._problem(value.source)
            if problem is not None:
                raise UnknownError(f"from {value.source}, {problem}")
        elif isinstance(value, FromBatch):
            raise UnknownError(f"{value}: only the ledger knows the numbers")
        elif isinstance(value, Keep):
            raise UnknownError("kept as it was built")
        elif isinstance(value, (Opaque, Computed)):
            raise UnknownError(f"written by code: {value}")
        elif isinstance(value, Formula) and value.begins_with_itself:
            raise UnknownError(f"made of what it held before: {value}")
        if self._seed is None and value.random:
            raise UnknownError("drawn, and there is no seed")

    def _problem(self, source: str) -> str | None:
        if source not in self._problems:
            self._problems[source] = self._found_problem(source)
        return self._problems[source]

    def _found_problem(self, source: str) -> str | None:
        load = self._loads.get(source)
        if load is None:
            return "of which the plan has no account"
        if load.checkpoint is None and load.given is None:
            return "which was given in code"
        if load.undigested is not None:
            return f"of which nobody knows what it was: {load.undigested}"
        try:
            digest = self._checkpoints.digest(source)
        except CheckpointNotFoundError:
            return "which is not there any more"
        except InitcfgError as error:
            return f"which cannot be read: {_first_line(error)}"
        if load.sha256 is not None and digest is not None and load.sha256 != digest:
            return "which has changed since: its SHA-256 is another"
        return None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".")
