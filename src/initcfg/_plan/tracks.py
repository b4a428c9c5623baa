"""Tracks: the writes of each tensor. Layers that are alike share a pattern, until tracks are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

from initcfg._plan.stacks import Stack, TimedStack


class Track(NamedTuple):
    """The writes of one tensor: its stacks, not yet unrolled."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    stacks: tuple[TimedStack, ...]


class Strand(NamedTuple):
    """The track of a tensor in each of the layers that share a pattern.

    Attributes:
        attribute: Its name there.
        fixed: Stacks of the same time in all of these layers.
        timed: Others, each with its time after the layer's.
    """

    attribute: str
    shape: tuple[int, ...]
    dtype: str
    fixed: tuple[TimedStack, ...]
    timed: tuple[tuple[int, Stack], ...] = ()


class Pattern(NamedTuple):
    """The tracks of a layer."""

    parameters: tuple[Strand, ...]
    buffers: tuple[Strand, ...]


@dataclass
class Stamps:
    """Patterns in their places, as columns.

    Attributes:
        befores: What stands before the names of each layer's tensors: ``"layers.0."``.
        times: When the walk came by.
        patterns: The pattern of each.
    """

    befores: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    patterns: list[Pattern] = field(default_factory=list)

    def add(self, before: str, time: int, pattern: Pattern) -> None:
        """A layer."""
        self.befores.append(before)
        self.times.append(time)
        self.patterns.append(pattern)


class Tracks(Sequence[Track]):
    """The tracks of all tensors: of parameters, then of buffers, then of tensors that are not the model's."""

    def __init__(self, stamps: Stamps, outside: Sequence[Track] = ()) -> None:
        self.stamps = stamps
        self.outside = outside

    def __iter__(self) -> Iterator[Track]:
        for buffers in (False, True):
            stamps = self.stamps
            for before, time, pattern in zip(stamps.befores, stamps.times, stamps.patterns, strict=True):
                yield from self.of_layer(before, time, pattern[buffers])
        yield from self.outside

    @staticmethod
    def of_layer(before: str, time: int, strands: Sequence[Strand]) -> Iterator[Track]:
        """Those of one layer."""
        for attribute, shape, dtype, fixed, timed in strands:
            later = tuple([TimedStack(time + after, stack) for after, stack in timed])
            yield Track(before + attribute, shape, dtype, fixed + later)

    def __len__(self) -> int:
        strands = sum(len(each.parameters) + len(each.buffers) for each in self.stamps.patterns)
        return strands + len(self.outside)

    @overload
    def __getitem__(self, index: int) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Track]: ...
    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tracks) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]
