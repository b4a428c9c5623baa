"""Pieces: a tensor cut into blocks that are runs of its row-major order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """A block of a tensor that is one run of its elements: where it begins, and its shape."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

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
        Piece(offsets=(0, 0), sizes=(2, 4))
        Piece(offsets=(2, 0), sizes=(1, 4))
    """
    if 0 in shape:
        return
    if not shape:
        yield Piece((), ())
        return
    # The first dimension of which at least one row fits is cut; of those before it, each index is apart.
    cut = next(dim for dim in range(len(shape)) if math.prod(shape[dim + 1 :]) <= most)
    inner = tuple(shape[cut + 1 :])
    rows = most // math.prod(inner)
    for before in itertools.product(*map(range, shape[:cut])):
        for first in range(0, shape[cut], rows):
            sizes = (*(1 for _ in before), min(rows, shape[cut] - first), *inner)
            yield Piece((*before, first, *(0 for _ in inner)), sizes)
