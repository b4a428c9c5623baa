"""Tensors that lie in a file, and are read when asked for."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeGuard

import torch

from initcfg._checkpoints.formats.into_memory import Numbers, copy_numbers, extent
from initcfg._checkpoints.formats.spans import Span
from initcfg._stream.writing import narrowed
from initcfg.errors import CheckpointError
from initcfg.values import dtype_name

# torch allows no more dimensions either.
_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 1 << 62


View = Callable[[torch.Tensor], torch.Tensor]
"""A tensor in, a view of it out."""


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

    def read_into(self, target: torch.Tensor, offsets: Sequence[int]) -> None:
        """Fill a tensor of any type with the block that begins at ``offsets`` and has its shape."""
        copy_numbers(target, narrowed(self.read(), offsets, target.shape))

    def mapped(self) -> torch.Tensor | str:
        """The tensor in the file's own pages, not read; or why that cannot be."""
        return "files of its kind are not mapped"

    def viewed(self, view: View) -> Stored:
        """What ``view`` makes of the tensor, which it only narrows or turns; no more than that is read."""
        return Viewed(self, view)

    @property
    def in_pieces(self) -> bool:
        """Whether a piece of it costs no more than its own bytes."""
        return False


@dataclass(frozen=True)
class Viewed(Stored):
    """A view of a tensor that is read whole."""

    whole: Stored
    view: View

    @property
    def info(self) -> TensorInfo:
        shape, dtype = self.whole.info
        return TensorInfo(tuple(self.view(torch.empty(shape, device="meta")).shape), dtype)

    def read(self) -> torch.Tensor:
        return self.view(self.whole.read())


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
        return self._numbers(0, self.size).read()

    def read_into(self, target: torch.Tensor, offsets: Sequence[int]) -> None:
        first = sum(map(operator.mul, offsets, self.stride))
        self._numbers(first, tuple(target.shape)).read_into(target)

    def viewed(self, view: View) -> Stored:
        there = view(torch.empty_strided(self.size, self.stride, device="meta"))
        first = self.offset + int(there.storage_offset())
        return replace(self, offset=first, size=tuple(there.shape), stride=there.stride())

    def mapped(self) -> torch.Tensor | str:
        storage, width = self.storage, self.dtype.itemsize
        reach = extent(self.size, self.stride)
        storage.check(self.offset + reach, self.dtype)
        start = storage.start + self.offset * width
        if storage.swapped or self.conjugated or self.negated:
            return "the file has its numbers in another form"
        if storage.span.place(start) % width:
            return "it does not begin at a multiple of its type's width in the file"
        try:
            memory = storage.span.mapped(start, reach * width)
        except OSError as error:
            return f"the system does not map the file ({error.strerror or error})"
        return torch.empty(0, dtype=self.dtype, device="cpu").set_(memory, 0, self.size, self.stride)  # type: ignore[call-overload]

    @property
    def in_pieces(self) -> bool:
        return True

    def _numbers(self, first: int, size: tuple[int, ...]) -> Numbers:
        """A block of it, which begins ``first`` elements behind its own beginning."""
        self.storage.check(self.offset + extent(self.size, self.stride), self.dtype)
        as_meant = self._as_meant if self.storage.swapped or self.conjugated or self.negated else None
        start = self.storage.start + (self.offset + first) * self.dtype.itemsize
        return Numbers(self.storage.span, start, self.dtype, size, self.stride, as_meant)

    def _as_meant(self, numbers: torch.Tensor) -> torch.Tensor:
        if self.storage.swapped:
            numbers = swapped(numbers)
        if self.conjugated:
            numbers = numbers.conj().resolve_conj()
        return numbers.neg() if self.negated else numbers


@dataclass
class Storage:
    """The bytes that tensors share; ``swapped`` if their byte order is not that of this machine."""

    span: Span
    start: int
    length: int
    swapped: bool = False

    def check(self, end: int, dtype: torch.dtype) -> None:
        """Refuse a tensor that ends at an element behind the last."""
        if end * dtype.itemsize > self.length:
            raise self.span.damaged(
                f"a tensor ends at byte {end * dtype.itemsize} of a storage of {self.length} bytes"
            )


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


@dataclass(frozen=True, eq=False)
class InMemory(Stored):
    """A tensor that is in memory already."""

    tensor: torch.Tensor

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(tuple(self.tensor.shape), dtype_name(self.tensor.dtype))

    def read(self) -> torch.Tensor:
        return self.tensor.detach()

    def mapped(self) -> torch.Tensor | str:
        return "it is in memory"

    @property
    def in_pieces(self) -> bool:
        return True


def tensor_in_memory(tensor: torch.Tensor) -> Stored:
    """A tensor that is in memory already, if it is one that parameters can be set from."""
    if tensor.layout == torch.strided and not tensor.is_nested:
        return InMemory(tensor)
    kind = "nested" if tensor.is_nested else "sparse"
    error = CheckpointError(
        f"The state_dict has a tensor that is {kind}, which no parameter can be set from.",
        fix="Give a plain tensor.",
    )
    return Unreadable(TensorInfo(() if tensor.is_nested else tuple(tensor.shape), kind), error)


def swapped(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers in one dimension, the bytes of each in the other order."""
    width = numbers.element_size() // (2 if numbers.is_complex() else 1)
    return numbers.view(torch.uint8).view(-1, width).flip(1).view(-1).view(numbers.dtype)


def is_shape(value: Any) -> TypeGuard[tuple[int, ...] | list[int]]:
    """Whether something is a tuple of sizes, of no more elements than can be counted."""
    return (
        isinstance(value, (tuple, list))
        and len(value) <= _MOST_DIMENSIONS
        and all(type(each) is int and 0 <= each <= _MOST_ELEMENTS for each in value)
        and math.prod(max(each, 1) for each in value) <= _MOST_ELEMENTS
    )
