"""What is written without an operation, to memory that code was handed: noted as if it were one."""

from __future__ import annotations

import torch

from initcfg._record.recording.log import tensor_at
from initcfg._record.recording.regions import Region
from initcfg._record.recording.storage import LogStep, Operand, TrackedStorage

_WHY = "its memory was handed out, and written where no operation shows it"


def _bytes_of(storage: torch.UntypedStorage) -> Region:
    return Region((storage.nbytes(),), (1,), 0, torch.uint8)


def content_of(storage: torch.UntypedStorage) -> torch.Tensor:
    """A copy of the bytes of a memory."""
    return tensor_at(storage, _bytes_of(storage)).clone()


def holds(storage: torch.UntypedStorage, content: torch.Tensor) -> bool:
    """Whether a memory has these bytes."""
    return torch.equal(tensor_at(storage, _bytes_of(storage)), content)


def written_unseen(index: int, tracked: TrackedStorage) -> LogStep:
    """The operation that writes to a memory what it holds now.

    It is one of those that change what was there: what was written may come from that.
    """
    assert tracked.storage is not None
    target = Operand(tracked, _bytes_of(tracked.storage))
    return LogStep(
        index,
        _put,
        (target, content_of(tracked.storage)),
        {},
        (),
        (tracked,),
        before={id(tracked): None},
        done=True,
        hidden=_WHY,
    )


def _put(target: torch.Tensor, content: torch.Tensor) -> None:
    target.copy_(content)
