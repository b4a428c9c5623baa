"""Stacks: the writes that pile up on a tensor.

Tensors of one slot and layout that the same steps reach have the same stack, so it is made once and
shared: planning costs a look-up for each tensor, whatever the number of rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import NamedTuple

import torch

from initcfg._model import Entry, Holding, plain_layout
from initcfg._plan.assignment import Shadowed
from initcfg.values import Layout, Opaque, Value

BEFORE_ALL_RULES = -1
"""Place in the program of what a constructor wrote, or meant to write."""


@dataclass(frozen=True)
class Stack:
    """Writes in the order of their steps, resolved for a layout; the last one shows."""

    # Place of each write's step in the program.
    orders: tuple[int, ...]
    writes: tuple[Shadowed, ...]
    layout: Layout

    @property
    def top(self) -> Shadowed:
        """The write that shows."""
        return self.writes[-1]

    @property
    def has_code(self) -> bool:
        """Whether a write of it is the user's code."""
        return any(isinstance(write.value, Opaque) for write in self.writes)


class TimedStack(NamedTuple):
    """A stack, and when the walk came by: writes of one step are made in that order."""

    time: int
    stack: Stack


Row = tuple[tuple[int, Stack], ...]
"""What is written to a layer: of each tensor reached its place among those of its holding, and the stack."""
First = tuple[tuple[int, TimedStack], ...]
"""What the constructor of a layer wrote, or meant to write, likewise."""


class Stacks:
    """The stacks on every tensor of a model: on layers that are alike as rows, on others one by one.

    Attributes:
        rows: By the place of a holding: what is written to it. Rows that are equal are one object.
        times: Likewise: the time before the first of these.
        firsts: Likewise: what its constructor wrote.
    """

    def __init__(self, holdings: int) -> None:
        # On tensors that are not kept (the original computes them anew), with shape and type.
        self.outside: list[tuple[tuple[int, ...], torch.dtype, TimedStack]] = []
        self.rows: list[Row] = [()] * holdings
        self.times: list[int] = [0] * holdings
        self.firsts: list[First] = [()] * holdings
        self._of_entries: defaultdict[int, list[TimedStack]] = defaultdict(list)
        self._first: dict[tuple[int, tuple[int, ...]], TimedStack] = {}
        self._time = 0

    def apart(self, holding: Holding) -> bool:
        """Whether something lies on single tensors of a holding, or is to be looked at one by one."""
        if holding.like is None:
            return True
        if not holding.looked_at:
            return False
        apart = self._of_entries
        return bool(apart) and any(id(entry) in apart for entry in holding.entries)

    def of(self, holding: Holding, place: int) -> list[TimedStack]:
        """The stacks on the tensor that has this place in a holding."""
        found: list[TimedStack] = []
        if holding.looked_at:
            found += self._of_entries.get(id(holding.entries[place]), ())
        time, row = self.times[holding.place], self.rows[holding.place]
        found += [TimedStack(time + index, stack) for index, (at, stack) in enumerate(row, 1) if at == place]
        found += [first for at, first in self.firsts[holding.place] if at == place]
        found.sort(key=itemgetter(0))
        return found

    def add(self, entry: Entry, stack: Stack) -> None:
        self._time += 1
        self._of_entries[id(entry)].append(tuple.__new__(TimedStack, (self._time, stack)))

    def add_layer(self, holding: Holding, row: Row) -> None:
        """What is written to a layer by steps that know no difference between it and those like it."""
        place = holding.place
        self.rows[place], self.times[place] = row, self._time
        self._time += len(row)

    def add_outside(self, tensor: torch.Tensor, stack: Stack) -> None:
        self._time += 1
        self.outside.append((tuple(tensor.shape), tensor.dtype, TimedStack(self._time, stack)))

    def first(self, shape: tuple[int, ...], write: Shadowed) -> TimedStack:
        """What a constructor wrote, or meant to write: it lies below all else."""
        key = id(write), shape
        first = self._first.get(key)
        if first is None:
            # The write is kept here, so that its identity stands for it.
            first = TimedStack(0, Stack((BEFORE_ALL_RULES,), (write,), plain_layout(shape)))
            self._first[key] = first
        return first

    def add_first(self, entry: Entry, write: Shadowed) -> None:
        """The same for a single tensor."""
        self._of_entries[id(entry)].insert(0, self.first(entry.shape, write))


def is_alone(stacks: Sequence[TimedStack]) -> bool:
    """Whether there is at most one beside what the constructor wrote: then it does not matter when."""
    return len(stacks) < 2 or (len(stacks) == 2 and stacks[0].stack.orders[0] == BEFORE_ALL_RULES)


def merge(stacks: Sequence[TimedStack], *, repeats: bool) -> list[tuple[int, int, Shadowed]]:
    """The writes of several stacks on one tensor, in the order they would be made: (order, time, write).

    With ``repeats``, a step that comes by twice (a shared module under two names) writes twice. The ``over``
    of opaque values is filled in.
    """
    flat = [
        (order, time, write)
        for time, stack in stacks
        for order, write in zip(stack.orders, stack.writes, strict=True)
    ]
    flat.sort(key=lambda each: each[:2])
    # The user's method is one call, by however many names it finds a tensor.
    once: dict[object, tuple[int, int, Shadowed]] = {}
    for order, time, write in flat:
        one_write = not repeats or isinstance(write.value, Opaque)
        once[order if one_write else (order, time)] = (order, time, write)
    merged: list[tuple[int, int, Shadowed]] = []
    below: Value | None = None
    for order, time, write in once.values():
        if isinstance(write.value, Opaque) and below is not None:
            # User code finds, and may leave, what was written before it.
            write = replace(write, value=Opaque(write.value.code, below))
        below = write.value
        merged.append((order, time, write))
    return merged
