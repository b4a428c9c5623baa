"""Stacks: the writes that pile up on a tensor.

Tensors of one role and layout that the same steps reach have the same stack, so it is made once and
shared: planning costs a look-up for each tensor, whatever the number of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from initcfg._plan.assignment import Shadowed
from initcfg.values import Layout, Opaque, Value


@dataclass(frozen=True)
class Stack:
    """Writes in the order of their steps; the last one shows.

    Attributes:
        orders: Place of each write's step in the program.
        writes: The writes.
        layout: Layout that the values were resolved for.
    """

    orders: tuple[int, ...]
    writes: tuple[Shadowed, ...]
    layout: Layout

    @property
    def top(self) -> Shadowed:
        """The write that shows."""
        return self.writes[-1]


Piece = tuple[int, Stack]
"""A stack, and when the walk came by: writes of one step are made in that order."""


def merge(pieces: Sequence[Piece], *, repeats: bool) -> list[tuple[int, int, Shadowed]]:
    """The writes of several stacks on one tensor, in the order they would be made.

    Args:
        pieces: The stacks.
        repeats: Whether a step that comes by twice (a shared module under two names) writes twice.

    Returns:
        Order of the step, time of the walk, and the write; ``over`` of opaque values filled in.
    """
    flat = [
        (order, sequence, write)
        for sequence, stack in pieces
        for order, write in zip(stack.orders, stack.writes, strict=True)
    ]
    flat.sort(key=lambda each: each[:2])
    # The user's method is one call, by however many names it finds a tensor.
    once: dict[object, tuple[int, int, Shadowed]] = {}
    for order, sequence, write in flat:
        one_write = not repeats or isinstance(write.value, Opaque)
        once[order if one_write else (order, sequence)] = (order, sequence, write)
    return list(_compose(once.values()))


def _compose(flat: Iterable[tuple[int, int, Shadowed]]) -> Iterable[tuple[int, int, Shadowed]]:
    """User code finds, and may leave, what was written before it."""
    previous: Value | None = None
    for order, sequence, write in flat:
        value = write.value
        if isinstance(value, Opaque) and previous is not None:
            value = Opaque(value.code, previous)
            write = Shadowed(write.rule, value, write.initializer)
        previous = value
        yield order, sequence, write
