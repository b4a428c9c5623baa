"""The ranks that write one checkpoint together: ``torchrun -m initcfg init ...``, or a process group."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.distributed

from initcfg._apply.streaming.shards import Shard
from initcfg.errors import ApplyError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Ranks:
    """This process among those that write.

    Attributes:
        rank: Its number among them.
        world: How many they are.
        group: Their process group; None for the default one, or for a process alone.
        members: Their global ranks, where they are several.
    """

    rank: int = 0
    world: int = 1
    group: ProcessGroup | None = None
    members: tuple[int, ...] = ()

    @property
    def first(self) -> bool:
        """Whether it is the one that looks after the folder."""
        return self.rank == 0

    @property
    def sets(self) -> list[tuple[int, ...]]:
        """The sets of ranks that agree."""
        return [self.members] if self.world > 1 else []

    def gathered(self, said: Any) -> list[Any]:
        """What every rank said, on the first; what this one said, on the others."""
        if self.world == 1:
            return [said]
        found: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(found, said, group=self.group)
        return found

    def share(self, files: Sequence[Shard]) -> list[Shard]:
        """The files that it writes: the largest first, each to the rank that has least."""
        loads = [0] * self.world
        mine: set[str] = set()
        for each in sorted(files, key=lambda shard: -shard.size):
            rank = loads.index(min(loads))
            loads[rank] += each.size
            if rank == self.rank:
                mine.add(each.name)
        return [each for each in files if each.name in mine]


ALONE = Ranks()


def ranks_of(group: ProcessGroup | None) -> Ranks:
    """The ranks of a process group; None is this process alone.

    Raises:
        ApplyError: This process is not in the group.
    """
    if group is None:
        return ALONE
    rank = torch.distributed.get_rank(group)
    if rank < 0:
        raise ApplyError("This process is not in the process group that is to write the checkpoint.")
    members = tuple(torch.distributed.get_process_group_ranks(group))
    return Ranks(rank, len(members), group, members)


def launched() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")) and (
        os.environ["WORLD_SIZE"] != "1"
    )


@contextlib.contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """The ranks that torchrun started; this process alone, if it did not."""
    if not launched() or torch.distributed.is_initialized():
        yield ALONE
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield ranks_of(torch.distributed.group.WORLD)
    finally:
        torch.distributed.destroy_process_group()
