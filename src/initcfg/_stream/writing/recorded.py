"""The one door for what this package writes where code is recorded: no dispatch mode sees a kernel's write.

Who records registers here how it is asked. :class:`StreamWriter` and :func:`fill_stream` tell it of each
write in place of doing it, as the value that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from initcfg.values import (
    Computed,
    CopyOf,
    FromBatch,
    FromCheckpoint,
    Keep,
    Opaque,
    Seeded,
    Value,
    formulas_in,
)

_UNSAID = (Computed, FromBatch, FromCheckpoint, Keep, Opaque)


class Recording(Protocol):
    """Whoever records code."""

    def note_write(
        self,
        tensor: torch.Tensor,
        value: Value | None,
        write: Callable[[torch.Tensor], object],
        *,
        call: Mapping[str, Any] | None = None,
        draws: bool = False,
        changes: bool = False,
        reason: str | None = None,
    ) -> None:
        """A tensor is to hold a value (None: one that is not known), which ``write`` writes.

        The value is an object of this write's own; those of copies, which share their numbers, are the same.
        ``call`` is the initializer that says so. Of a value that is not known: whether writing ``draws`` from
        torch's generator, and ``changes`` what the tensor holds before; and
        the ``reason`` why nobody knows it.
        """

    def note_draw(self, draw: Callable[[], object]) -> None:
        """Code draws a seed here from torch's generator."""


_asked: list[Callable[[], Recording | None]] = []


def answers_who_records(function: Callable[[], Recording | None]) -> None:
    """Register what says who records the code of this thread; None if nobody does."""
    _asked.append(function)


def who_records() -> Recording | None:
    """Who records the code of this thread, and is to be told of writes; None if nobody does."""
    return next((found for each in _asked if (found := each()) is not None), None)


class LateSeed:
    """The seed of recorded code that gave none: under the stream the plan's seed decides in its place.

    Where numbers are looked at, or torch's generator is to decide, it is drawn from that, once.
    """

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw
        self._drawn: int | None = None

    def begin(self) -> None:
        """Draw it here."""
        self._drawn = self._draw()

    def __call__(self) -> int:
        if self._drawn is None:
            self.begin()
        assert self._drawn is not None
        return self._drawn


def recorded_value(value: Value, name: str, seed: int | None) -> Value | None:
    """What a record says of a tensor with this value under this name and seed; None if that has no value.

    Without a seed the names are those of the model that is recorded: what is of another name has none there.
    """
    parts = _within(value)
    formulas = formulas_in(value)
    if any(isinstance(each, _UNSAID) for each in parts) or any(each.begins_with_itself for each in formulas):
        return None
    if not value.random:
        return value
    if seed is not None:
        return Seeded(name, value, seed)
    others = any(isinstance(each, CopyOf) and each.random for each in parts)
    for each in formulas:
        keys = [step[-1] for step in each.instructions if each.draws(step)]
        others = others or '"CopyOf"' in each.program or any(isinstance(key, list) for key in keys)
    return None if others else value


def _within(value: Value) -> list[Value]:
    """A value, and those that it is made of."""
    found = [value]
    for each in found:
        for item in each.args.values():
            inner = item if isinstance(item, tuple) else (item,)
            found += [part for part in inner if isinstance(part, Value)]
    return found
