"""Numbers of a file, read straight into the memory where they are needed.

Where they lie in the file as in memory, the system copies them there, and nothing stands between. Else they
go through small buffers, part by part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from initcfg._checkpoints.formats.spans import Read, Span
from initcfg._stream.writing import as_array, for_each, memory_problem, thread_count

# Bytes that are worth a call of their own; what is shorter is picked out of a longer stretch.
_LONG_RUN = 1 << 12
# Elements that are converted at once: they stay in the processor's cache, and torch, which would share more
# among threads of its own, leaves them to the thread that read them.
_AT_ONCE = 1 << 15
# Elements that a thread takes at a time; with fewer there is only one.
_SHARE = 1 << 21


@dataclass(frozen=True)
class Numbers:
    """Numbers in a file, at ``size`` and ``stride`` (in elements) from the byte ``start`` of a stretch on.

    ``converted`` makes what is meant of what is stored, where that is not the same, in one dimension.
    """

    span: Span
    start: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    converted: Callable[[torch.Tensor], torch.Tensor] | None = None

    def read(self) -> torch.Tensor:
        """All of them, in memory of their own: as they lie in the file, or without what lies between them."""
        reach, count = extent(self.size, self.stride), math.prod(self.size)
        if reach <= 4 * count:
            flat = self.span.memory(reach * self.dtype.itemsize)
            self.span.read_into(_bytes(flat), self.start)
            return self._meant(flat).as_strided(self.size, self.stride)
        made = self.span.memory(count * self.dtype.itemsize).view(self.dtype).view(self.size)
        self.read_into(made)
        return made

    def read_into(self, target: torch.Tensor) -> None:
        """Fill a tensor of the same shape, of any type, wherever it is."""
        if target.numel() == 0:
            return
        # Other threads know nothing of torch.no_grad here.
        target = target.detach()
        whole = _Part(target, 0, self.size, self.stride)
        in_runs = whole.run * self.dtype.itemsize >= _LONG_RUN or whole.run == target.numel()
        memory = None
        if in_runs and self.converted is None and target.dtype == self.dtype:
            memory = _memory_of(target)
        if memory is not None and whole.run == target.numel():
            self.span.read_into(memory, self.start)
            return
        work = self._gather if memory is not None else self._convert if in_runs else self._pick
        shares = list(_parts(whole, _SHARE, in_runs))
        for_each(work, shares, min(thread_count(), len(shares)), "initcfg-reader")

    def _gather(self, share: _Part) -> None:
        """Run by run to where they belong."""
        with self.span.reading() as read:
            memory = _memory_of(share.target)
            assert memory is not None
            self._read_runs(read, memory, share)

    def _convert(self, share: _Part) -> None:
        """Run by run into a buffer, and from there."""
        buffer = torch.empty(_AT_ONCE * self.dtype.itemsize, dtype=torch.uint8, device="cpu")
        with self.span.reading() as read:
            for part in _parts(share, _AT_ONCE, True):
                here = buffer[: part.target.numel() * self.dtype.itemsize]
                self._read_runs(read, _bytes(here), part)
                copy_numbers(part.target, self._meant(here).view(part.size))

    def _pick(self, share: _Part) -> None:
        """Stretch by stretch into a buffer, and from there what is wanted of it."""
        buffer = torch.empty(_AT_ONCE * self.dtype.itemsize, dtype=torch.uint8, device="cpu")
        with self.span.reading() as read:
            for part in _parts(share, _AT_ONCE, False):
                here = buffer[: extent(part.size, part.stride) * self.dtype.itemsize]
                read(_bytes(here), self.start + part.first * self.dtype.itemsize)
                copy_numbers(part.target, self._meant(here).as_strided(part.size, part.stride))

    def _read_runs(self, read: Read, memory: memoryview, part: _Part) -> None:
        width = part.run * self.dtype.itemsize
        for number, first in enumerate(part.runs()):
            start = self.start + first * self.dtype.itemsize
            read(memory[number * width : (number + 1) * width], start)

    def _meant(self, stored: torch.Tensor) -> torch.Tensor:
        flat = stored.view(self.dtype)
        return flat if self.converted is None else self.converted(flat)


class _Part(NamedTuple):
    """A part of the target, and where its numbers lie: ``first`` counts elements."""

    target: torch.Tensor
    first: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def run(self) -> int:
        """How many elements follow each other in the file as in the target."""
        count = 1
        for size, stride in zip(reversed(self.size), reversed(self.stride), strict=True):
            if size != 1 and stride != count:
                break
            count *= size
        return count

    def runs(self) -> list[int]:
        """Where each run begins in the file, in the order of the target."""
        starts, left = [self.first], self.target.numel() // self.run
        for size, stride in zip(self.size, self.stride, strict=True):
            if left == 1:
                break
            starts = [start + index * stride for start in starts for index in range(size)]
            left //= size
        return starts


def _parts(whole: _Part, most: int, in_runs: bool) -> Iterator[_Part]:
    """A tensor in parts of at most ``most`` elements: its own, or those that it reaches over in the file."""
    target, first, size, stride = whole
    count = target.numel() if in_runs else extent(size, stride)
    if count <= most:
        yield whole
        return
    if in_runs:
        dim = next(each for each, length in enumerate(size) if length > 1)
        rows = max(1, most * size[dim] // count)
    else:
        dim = max(range(len(size)), key=lambda each: (size[each] - 1) * stride[each])
        inner = count - (size[dim] - 1) * stride[dim]
        rows = max(1, (most - inner) // stride[dim] + 1)
    for start in range(0, size[dim], rows):
        length = min(rows, size[dim] - start)
        smaller = (*size[:dim], length, *size[dim + 1 :])
        part = _Part(target.narrow(dim, start, length), first + start * stride[dim], smaller, stride)
        yield from _parts(part, most, in_runs)


def _memory_of(tensor: torch.Tensor) -> memoryview | None:
    """The bytes of a tensor that lies in this machine's memory in one run; None where it does not."""
    if not tensor.is_cpu or memory_problem(tensor) is not None or not tensor.is_contiguous():
        return None
    return _bytes(tensor.detach().reshape(-1).view(torch.uint8))


def _bytes(memory: torch.Tensor) -> memoryview:
    return as_array(memory).data


def copy_numbers(target: torch.Tensor, numbers: torch.Tensor) -> None:
    """Copy numbers into a tensor of any type.

    Who casts complex numbers to real ones has asked for it: torch would warn of what is dropped.
    """
    target.copy_(numbers.real if numbers.is_complex() and not target.is_complex() else numbers)


def row_major(size: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose elements follow each other."""
    return tuple(math.prod(size[dim + 1 :]) for dim in range(len(size)))


def extent(size: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements of a storage a tensor reaches over, from its first to its last.

    Example:
        >>> from initcfg._checkpoints.formats.into_memory import extent
        >>> extent((2, 3), (3, 1)), extent((2, 3), (10, 1)), extent((), ()), extent((0, 3), (3, 1))
        (6, 13, 1, 0)
    """
    if 0 in size:
        return 0
    return 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
