"""Storages whose content is known without looking, and the recorded operations that would make it real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from initcfg._deferral.layers import Layer


@dataclass(eq=False)
class Group:
    """Storages that recorded operations tie together: a copy, and what it was copied from.

    They become real together, in the order of the operations.
    """

    members: list[Held] = field(default_factory=list)
    steps: int = 0


@dataclass(eq=False)
class Held:
    """One storage.

    Attributes:
        storage: The memory; held, so that its address is not given to another.
        layers: What was written, first to last.
        pending: Whether operations on it were recorded that have not been done.
        exposed: Whether its address was given out, so that it may change unseen.
        tainted: Whether random numbers that were drawn while building have come into it.
        aliases: How many tensors recorded operations hold on it.
        group: The storages that it becomes real with.
    """

    storage: torch.UntypedStorage
    layers: list[Layer] = field(default_factory=list)
    pending: bool = False
    exposed: bool = False
    tainted: bool = False
    aliases: int = 0
    group: Group = field(default_factory=Group)

    def __post_init__(self) -> None:
        self.group.members.append(self)

    @property
    def abandoned(self) -> bool:
        """Whether nobody holds the memory any more, but the records of it."""
        return torch._C._storage_Use_Count(self.storage._cdata) <= 1 + self.aliases

    def write(self, layer: Layer) -> None:
        """Put a layer on top; those that it covers are forgotten."""
        self.layers = [below for below in self.layers if not layer.region.covers(below.region)]
        self.layers.append(layer)

    def tie(self, other: Held) -> None:
        """Make both real together."""
        if self.group is other.group:
            return
        merged, gone = self.group, other.group
        merged.steps += gone.steps
        for held in gone.members:
            held.group = merged
            merged.members.append(held)


@dataclass(eq=False)
class Step:
    """A recorded operation: what does it, and the storage that it writes."""

    run: Callable[[], object]
    writes: Held
