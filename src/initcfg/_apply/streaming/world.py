"""The processes that write one checkpoint together: ``torchrun -m initcfg init ...``, or a process group."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.distributed

from initcfg._apply.process_groups import ranks_of
from initcfg._apply.streaming.shard_files import Shard
from initcfg.errors import ApplyError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class World:
    """This process among those that write: its rank, and how many they are.

    Where they are several: their process group, None for the default one, and their global ranks.
    """

    rank: int = 0
    size: int = 1
    group: ProcessGroup | None = None
    members: tuple[int, ...] = ()

    @property
    def first(self) -> bool:
        """Whether it is the one that looks after the folder."""
        return self.rank == 0

    @property
    def sets(self) -> list[tuple[int, ...]]:
        """The sets of ranks that agree."""
        return [self.members] if self.size > 1 else []

    def gathered(self, said: Any) -> list[Any]:
        """What every rank said."""
        found: list[Any] = [said] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(found, said, group=self.group)
        return found

    def share(self, shards: Sequence[Shard]) -> list[Shard]:
        """The files that it writes: the largest first, each to the rank that has least."""
        loads = [0] * self.size
        mine: set[str] = set()
        for shard in sorted(shards, key=lambda shard: -shard.size):
            rank = loads.index(min(loads))
            loads[rank] += shard.size
            if rank == self.rank:
                mine.add(shard.name)
        return [shard for shard in shards if shard.name in mine]


ALONE = World()


def world_of(group: ProcessGroup | None) -> World:
    """The ranks of a process group; None is this process alone."""
    if group is None:
        return ALONE
    members = ranks_of(group)
    rank = torch.distributed.get_rank(group)
    if rank < 0:
        raise ApplyError("This process is not in the process group that is to write the checkpoint.")
    return World(rank, len(members), group, members)


@contextlib.contextmanager
def launched_world() -> Iterator[World]:
    """The ranks that torchrun, or something like it, started; this process alone, if it did not."""
    said = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")]
    if None in said or said[1] == "1" or torch.distributed.is_initialized():
        yield ALONE
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield world_of(torch.distributed.group.WORLD)
    finally:
        torch.distributed.destroy_process_group()
