"""Pieces: a tensor cut into blocks that are runs of its row-major order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """A block of a tensor that is one run of its elements.

    Attributes:
        offsets: Where it begins, dimension by dimension.
        sizes: How long it is.
        start: Row-major index of its first element.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.sizes)


def pieces(shape: Sequence[int], most: int) -> Iterator[Piece]:
    """A tensor in pieces of at most ``most`` elements, in order.

    Example:
        >>> from initcfg._apply.streaming.pieces import pieces
        >>> for piece in pieces((3, 4), 8):
        ...     print(piece)
        Piece(offsets=(0, 0), sizes=(2, 4), start=0)
        Piece(offsets=(2, 0), sizes=(1, 4), start=8)
    """
    if math.prod(shape):
        yield from _cut((), tuple(shape), most, 0)


def _cut(fixed: tuple[int, ...], rest: tuple[int, ...], most: int, start: int) -> Iterator[Piece]:
    """The pieces below the indices ``fixed``, of which the dimensions ``rest`` are left."""
    if math.prod(rest) <= most:
        yield Piece((*fixed, *(0 for _ in rest)), (*(1 for _ in fixed), *rest), start)
        return
    outer, inner = rest[0], rest[1:]
    below = math.prod(inner)
    rows = most // below
    if rows == 0:
        for row in range(outer):
            yield from _cut((*fixed, row), inner, most, start + row * below)
        return
    for first in range(0, outer, rows):
        sizes = (*(1 for _ in fixed), min(rows, outer - first), *inner)
        yield Piece((*fixed, first, *(0 for _ in inner)), sizes, start + first * below)
