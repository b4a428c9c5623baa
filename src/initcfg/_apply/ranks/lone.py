"""A rank that drew a seed for itself, in a job of several: nothing made the others take the same."""

from __future__ import annotations

import os

import torch.distributed

_SAID = "Rank %d of %d drew a seed of its own: of a model that is wrapped by DDP later, the others take the "
_FIX = "weights of rank 0. Give all ranks one seed, or process_group=torch.distributed.group.WORLD."
TOLD = _SAID + _FIX
"""What is logged, of a rank and of how many there are."""


def place_in_job() -> tuple[int, int] | None:
    """This rank, and how many there are, in a process group or as torchrun says; None in a job of one."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        if distributed.get_backend() == "fake":
            return None
        rank, world = distributed.get_rank(), distributed.get_world_size()
    else:
        # The process group may be made after the model.
        said = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")]
        if not all(each.isascii() and each.isdigit() and len(each) < 10 for each in said):
            return None
        rank, world = map(int, said)
    return (rank, world) if rank < world and world > 1 else None
