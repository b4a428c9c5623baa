"""Regions of memory: where a tensor lies in its storage."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class Region(NamedTuple):
    """Where a tensor lies in its storage, in elements of its type."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    @property
    def span(self) -> tuple[int, int]:
        """First element, and one beyond the last."""
        reach = sum((size - 1) * stride for size, stride in zip(self.sizes, self.strides, strict=True))
        return self.offset, self.offset + (reach + 1 if 0 not in self.sizes else 0)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.sizes)

    @property
    def dense(self) -> bool:
        """Whether it holds every element of its span, each once."""
        low, high = self.span
        return self.elements == high - low

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie in the order of their index, without gaps."""
        reach = 1
        for size, stride in zip(reversed(self.sizes), reversed(self.strides), strict=True):
            if size != 1 and stride != reach:
                return False
            reach *= max(size, 1)
        return True

    def covers(self, other: Region) -> bool:
        """Whether every element of ``other`` lies in it."""
        if self == other:
            return True
        (low, high), (start, stop) = self.span, other.span
        return self.dtype == other.dtype and self.dense and low <= start and stop <= high

    def apart(self, other: Region) -> bool:
        """Whether the two spans share nothing."""
        (low, high), (start, stop) = self.span, other.span
        size, others = self.dtype.itemsize, other.dtype.itemsize
        return high * size <= start * others or stop * others <= low * size


def region_of(tensor: torch.Tensor) -> Region:
    """The region of a strided tensor."""
    place = tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype
    return tuple.__new__(Region, place)


def slab(region: Region, part: Region) -> tuple[int, int, int] | None:
    """Dimension, start and stop of a part that is whole in every other dimension."""
    if part.dtype != region.dtype:
        return None
    for dim in range(len(region.sizes)):
        whole = _without(dim, region)
        if (part.sizes, part.strides) == whole:
            length = 1
        elif len(part.sizes) == len(region.sizes) and _without(dim, part) == whole:
            length = part.sizes[dim]
            if length != 1 and part.strides[dim] != region.strides[dim]:
                continue
        else:
            continue
        start, rest = divmod(part.offset - region.offset, region.strides[dim] or 1)
        if rest == 0 and start >= 0 and start + length <= region.sizes[dim]:
            return dim, start, start + length
    return None


def _without(dim: int, region: Region) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sizes, strides = region.sizes, region.strides
    return sizes[:dim] + sizes[dim + 1 :], strides[:dim] + strides[dim + 1 :]


def rows(region: Region, part: Region) -> tuple[int, int, int] | None:
    """Dimension 0, start and stop of a part that is whole rows of a tensor, in whatever shape.

    So experts are written that lie in one matrix, each as a convolution of its own.
    """
    if not region.sizes or part.dtype != region.dtype or not (region.contiguous and part.contiguous):
        return None
    row = region.elements // max(region.sizes[0], 1)
    if row == 0 or part.elements == 0:
        return None
    start, rest = divmod(part.offset - region.offset, row)
    length, more = divmod(part.elements, row)
    if rest or more or start < 0 or start + length > region.sizes[0]:
        return None
    return 0, start, start + length
