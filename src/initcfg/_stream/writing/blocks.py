"""Blocks: where a tensor lies in a larger one, and how its elements are counted."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from initcfg._stream.bits import Dim
from initcfg.errors import ApplyError


@dataclass(frozen=True)
class Block:
    """A rectangular block of a global tensor of ``shape``, which begins at ``offsets``."""

    shape: tuple[int, ...]
    offsets: tuple[int, ...]

    @staticmethod
    def whole(shape: Sequence[int]) -> Block:
        """The block that is everything."""
        return Block(tuple(shape), (0,) * len(shape))

    def check(self, sizes: Sequence[int]) -> None:
        """Raise ApplyError unless a block of ``sizes`` lies within the global tensor."""
        if not len(self.shape) == len(self.offsets) == len(sizes) or any(
            not 0 <= start <= start + size <= full
            for start, size, full in zip(self.offsets, sizes, self.shape, strict=True)
        ):
            raise ApplyError(
                f"A tensor of shape {tuple(sizes)} at {self.offsets} is not a block of {self.shape}.",
                shape=tuple(sizes),
            )

    def along(self, dim: int, start: int, stop: int) -> Block:
        """The block seen from the part ``start:stop`` of a dimension, which is a tensor of its own."""
        shape = (*self.shape[:dim], stop - start, *self.shape[dim + 1 :])
        offset = max(self.offsets[dim] - start, 0)
        return Block(shape, (*self.offsets[:dim], offset, *self.offsets[dim + 1 :]))


def narrowed(tensor: torch.Tensor, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
    """The block of a tensor that begins at ``offsets`` and has ``sizes``, as a view."""
    for dim, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        tensor = tensor.narrow(dim, offset, size)
    return tensor


def dims_of(tensor: torch.Tensor, block: Block) -> tuple[tuple[Dim, ...], int]:
    """The dimensions of a tensor within its block, neighbours merged; and the index of its first element."""
    index_strides = [math.prod(block.shape[dim + 1 :]) for dim in range(len(block.shape))]
    base = sum(map(operator.mul, block.offsets, index_strides))
    if tensor.is_contiguous() and tuple(tensor.shape) == block.shape:
        return (Dim(tensor.numel(), 1, 1),), base
    return merged(map(Dim, tensor.shape, tensor.stride(), index_strides)), base


def merged(dims: Iterable[Dim]) -> tuple[Dim, ...]:
    """The same elements in the same order, with dimensions that follow on each other as one."""
    found: list[Dim] = []
    for size, stride, index_stride in dims:
        if size == 1:
            continue
        if found and found[-1][1:] == (size * stride, size * index_stride):
            size *= found.pop().size
        found.append(Dim(size, stride, index_stride))
    return tuple(found) or (Dim(1, 1, 1),)


def elements(dims: Iterable[Dim]) -> int:
    """How many elements a block has."""
    return math.prod(dim.size for dim in dims)


def cut(
    dims: tuple[Dim, ...], base: int, most: int, offset: int = 0
) -> Iterator[tuple[tuple[Dim, ...], int, int]]:
    """A block in parts of at most ``most`` elements: dimensions, first index, and ``offset`` in memory."""
    if elements(dims) <= most:
        yield dims, base, offset
        return
    outer, inner = dims[0], dims[1:]
    step = most // elements(inner)
    for start in range(0, outer.size, step or 1):
        index, place = base + start * outer.index_stride, offset + start * outer.stride
        if step:
            yield (outer._replace(size=min(step, outer.size - start)), *inner), index, place
        else:
            yield from cut(inner, index, most, place)


def strided_view(tensor: torch.Tensor, dims: Sequence[Dim], offset: int = 0) -> torch.Tensor:
    """The block of these dimensions that begins ``offset`` elements of memory after the tensor."""
    sizes, strides = [dim.size for dim in dims], [dim.stride for dim in dims]
    return torch.as_strided(tensor.detach(), sizes, strides, tensor.storage_offset() + offset)
