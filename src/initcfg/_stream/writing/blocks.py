"""Blocks: where a tensor lies in a larger one, and how its elements are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from initcfg._stream.bits import Dim
from initcfg.errors import ApplyError


@dataclass(frozen=True)
class Block:
    """A rectangular block of a global tensor.

    Attributes:
        shape: Shape of the global tensor.
        offsets: Where the block begins, dimension by dimension.
    """

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
                f"A tensor of shape {tuple(sizes)} at {self.offsets} is no block of {self.shape}.",
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


def index_strides(shape: Sequence[int]) -> list[int]:
    """How far apart in row-major order the neighbours of each dimension are."""
    strides = [1] * len(shape)
    for dim in range(len(shape) - 2, -1, -1):
        strides[dim] = strides[dim + 1] * shape[dim + 1]
    return strides


def dims_of(tensor: torch.Tensor, block: Block) -> tuple[tuple[Dim, ...], int]:
    """The dimensions of a tensor within its block, neighbours merged; and the index of its first element."""
    strides = index_strides(block.shape)
    base = sum(start * stride for start, stride in zip(block.offsets, strides, strict=True))
    if tensor.is_contiguous() and tuple(tensor.shape) == block.shape:
        return (Dim(tensor.numel(), 1, 1),), base
    merged: list[Dim] = []
    for size, stride, index_stride in zip(tensor.shape, tensor.stride(), strides, strict=True):
        if size == 1:
            continue
        if merged:
            last = merged[-1]
            if last.stride == size * stride and last.index_stride == size * index_stride:
                merged[-1] = Dim(last.size * size, stride, index_stride)
                continue
        merged.append(Dim(size, stride, index_stride))
    return tuple(merged) or (Dim(1, 1, 1),), base
