"""Tensors that lie in a file, and are read when asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

import torch

from initcfg._checkpoints.formats.spans import Span
from initcfg._stream.writing import narrowed
from initcfg.errors import CheckpointError
from initcfg.values import dtype_name

# torch allows no more dimensions either.
_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 1 << 62


class TensorInfo(NamedTuple):
    """What is known of a tensor without reading it; its type as torch names it: ``"float32"``."""

    shape: tuple[int, ...]
    dtype: str


class Stored:
    """A tensor that was not read yet."""

    @property
    def info(self) -> TensorInfo:
        """Its shape and type."""
        raise NotImplementedError

    def read(self) -> torch.Tensor:
        """The tensor."""
        raise NotImplementedError

    def read_block(self, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
        """The block that begins at ``offsets`` and has ``sizes``; of a mapped file, no other page is read."""
        return narrowed(self.read(), offsets, sizes)


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds, before anybody looked for the weights in it.

    Attributes:
        tree: Its tensors (:class:`Stored`) and the rest, by name, nested as they are in the file.
        format: What kind of file it is, for a person.
        metadata: What the file says of itself.
        files: What to close in the end.
        plain: The tree is the weights, and a key of it means nothing but a module's name.
        foreign: The first of the names in it that are on no list: of classes and functions, never looked up.
    """

    tree: Mapping[Any, Any]
    format: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Any, ...] = ()
    plain: bool = False
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredView(Stored):
    """A tensor in a storage: its first element, sizes and strides (in elements), all of them checked.

    ``conjugated`` or ``negated`` is what its numbers are of those stored.
    """

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    conjugated: bool = False
    negated: bool = False

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.size, dtype_name(self.dtype))

    def read(self) -> torch.Tensor:
        tensor = self.storage.elements(self.offset, extent(self.size, self.stride), self.dtype)
        tensor = tensor.as_strided(self.size, self.stride)
        if self.conjugated:
            tensor = tensor.conj().resolve_conj()
        return tensor.neg() if self.negated else tensor


@dataclass
class Storage:
    """The bytes that tensors share; ``swapped`` if their byte order is not that of this machine."""

    span: Span
    start: int
    length: int
    swapped: bool = False

    def elements(self, offset: int, count: int, dtype: torch.dtype) -> torch.Tensor:
        """Some elements, in one dimension."""
        end = (offset + count) * dtype.itemsize
        if end > self.length:
            raise self.span.damaged(f"a tensor ends at byte {end} of a storage of {self.length} bytes")
        tensor = self.span.tensor(self.start + offset * dtype.itemsize, count, dtype)
        if self.swapped and count:
            tensor.untyped_storage().byteswap(dtype)
        return tensor


@dataclass(frozen=True)
class Unreadable(Stored):
    """A tensor of a kind that no module can be initialized from: quantized, sparse, without numbers."""

    known: TensorInfo
    error: CheckpointError

    @property
    def info(self) -> TensorInfo:
        return self.known

    def read(self) -> torch.Tensor:
        raise self.error


@dataclass(frozen=True)
class InMemory(Stored):
    """A tensor that is in memory already."""

    tensor: torch.Tensor

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(tuple(self.tensor.shape), dtype_name(self.tensor.dtype))

    def read(self) -> torch.Tensor:
        return self.tensor.detach()


def extent(size: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements of a storage a tensor reaches over, from its first to its last.

    Example:
        >>> from initcfg._checkpoints.formats.stored import extent
        >>> extent((2, 3), (3, 1)), extent((2, 3), (10, 1)), extent((), ()), extent((0, 3), (3, 1))
        (6, 13, 1, 0)
    """
    if 0 in size:
        return 0
    return 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True))


def is_shape(value: Any) -> TypeGuard[tuple[int, ...] | list[int]]:
    """Whether something is a tuple of sizes, of no more elements than can be counted."""
    return (
        isinstance(value, (tuple, list))
        and len(value) <= _MOST_DIMENSIONS
        and all(type(each) is int and 0 <= each <= _MOST_ELEMENTS for each in value)
        and math.prod(max(each, 1) for each in value) <= _MOST_ELEMENTS
    )
