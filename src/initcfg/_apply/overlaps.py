"""Overlaps: parameters that share a part of their memory cannot each have the numbers that a plan says.

Tied parameters are one tensor, and views side by side in one buffer share nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from operator import le
from typing import NamedTuple

import torch

from initcfg._model import Entry, Names, local_of, memory_range, memory_ranges, storage_of
from initcfg._plan import Assignment
from initcfg.errors import TensorError
from initcfg.values import CopyOf, Formula, Keep, Opaque, Seeded

# More bytes than this are not compared one by one.
_MOST_BYTES = 1 << 28


class _Span(NamedTuple):
    """Where a tensor lies in memory, in bytes: the first, and size and stride of each dimension.

    The longest stride comes first, and last the bytes of an element.
    """

    start: int
    dims: tuple[tuple[int, int], ...]

    @property
    def stop(self) -> int:
        """One beyond the last byte."""
        return self.start + sum((size - 1) * stride for size, stride in self.dims) + 1


Neighbors = list[tuple[Entry, Entry]]
"""Pairs of parameters whose spans in memory meet."""


def check_overlaps(items: Mapping[str, Assignment], neighbors: Neighbors) -> None:
    """Raise TensorError where two parameters share memory, and the plan writes one of them."""
    for first, second in neighbors:
        one, other = items.get(first.name), items.get(second.name)
        if one is None or other is None or not _clash(first, second, one, other):
            continue
        exact = _same(first, second)
        raise TensorError(
            f"{first.name!r} and {second.name!r} are two parameters that lie {'' if exact else 'partly '}in "
            "the same memory, so that writing one changes the other.",
            parameter=second.name,
            shape=second.shape,
            fix="Make them one parameter (b.weight = a.weight), or give each memory of its own: "
            "nn.Parameter(view.clone()).",
        )


def same_memory(items: Mapping[str, Assignment], neighbors: Neighbors) -> dict[str, str]:
    """Parameters that lie exactly where another of the same value does, with the name that draws for both."""
    found: dict[str, str] = {}
    for first, second in neighbors:
        one, other = items.get(first.name), items.get(second.name)
        if one is not None and other is not None and _same(first, second) and _alike(one, other):
            low, high = sorted((found.get(first.name, first.name), second.name), key=str.encode)
            found[high] = low
    return found


def _clash(first: Entry, second: Entry, one: Assignment, other: Assignment) -> bool:
    written = [item for item in (one, other) if not isinstance(item.value, Keep)]
    if all(item.initializer is None or isinstance(item.value, Opaque) for item in written):
        # What the model's own code does with its memory is its own affair, and was recorded for both names.
        return False
    if _same(first, second):
        # One memory under two objects, as tied by `.data`: good as long as both are to hold the same.
        return len(written) == 2 and not _alike(one, other) and _numbers(one) != _numbers(other)
    return _shared(_span(first.tensor), _span(second.tensor))


def _same(first: Entry, second: Entry) -> bool:
    """Whether two parameters in one memory have each element in the same place."""
    here, there = (
        (each.dtype, each.shape, each.stride(), _span(each).start)
        for each in (local_of(first.tensor), local_of(second.tensor))
    )
    return here == there


def _alike(one: Assignment, other: Assignment) -> bool:
    """Whether two rules say the same: then one name can give the numbers of both."""
    return one.value == other.value and not isinstance(one.value, (CopyOf, Formula))


def _numbers(item: Assignment) -> object:
    """What a tensor is to hold, with the names that its numbers have: copies of one draw are the same."""
    value = item.value
    if isinstance(value, CopyOf) and not isinstance(value, Seeded):
        return value.source, value.value
    if isinstance(value, Formula):
        # Under the tensor's own name, a key is a number.
        return [
            [*each[:-1], [item.name, each[-1]]] if Formula.draws(each) and isinstance(each[-1], int) else each
            for each in value.instructions
        ]
    return item.name if value.random else "", value


def neighbors_in(names: Names) -> Neighbors:
    """The pairs of parameters whose spans in memory meet."""
    entries = names.parameters
    if {type(entry.tensor) for entry in entries} <= {torch.nn.Parameter}:
        # In nearly all models, each has a storage of its own.
        starts, stops = memory_ranges([entry.tensor for entry in entries])
        starts.sort()
        stops.sort()
        if not entries or (starts[0] and all(map(le, stops, starts[1:]))):
            return []
    by_memory: dict[object, list[tuple[int, int, int]]] = {}
    for index, entry in enumerate(entries):
        tensor = local_of(entry.tensor)
        if not tensor.is_meta and tensor.numel() > 0 and (storage := storage_of(tensor)):
            start, stop = memory_range(tensor)
            # Two storages may have one memory, as those of two tensors of one NumPy array.
            memory = tensor.device if start else storage
            by_memory.setdefault(memory, []).append((start, stop, index))
    found: Neighbors = []
    for ranges in by_memory.values():
        ranges.sort()
        if any(before[1] > after[0] or not after[0] for before, after in pairwise(ranges)):
            indices = [index for _, _, index in ranges]
            found += _meeting([entries[index] for index in sorted(indices)])
    return found


def _meeting(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    spans = sorted((_span(entry.tensor), index) for index, entry in enumerate(entries))
    for place, (span, index) in enumerate(spans):
        for other, second in itertools.islice(spans, place + 1, None):
            if other.start >= span.stop:
                break
            yield entries[index], entries[second]


def _span(tensor: torch.Tensor) -> _Span:
    tensor = local_of(tensor)
    size = tensor.element_size()
    dims = [(n, stride * size) for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if n > 1]
    start = memory_range(tensor)[0] + int(tensor.storage_offset()) * size
    return _Span(start, (*sorted(dims, key=lambda dim: -dim[1]), (size, 1)))


def _shared(here: _Span, there: _Span) -> bool:
    """Whether two tensors have a byte in common."""
    low, high = min(here.start, there.start), max(here.stop, there.stop)
    if here.stop <= there.start or there.stop <= here.start:
        return False
    if here.dims[0] == there.dims[0] and len(here.dims) > 1:
        rows = _Span(here.start, here.dims[1:]), _Span(there.start, there.dims[1:])
        if max(row.stop for row in rows) - low <= here.dims[0][1]:
            # The same rows of both, as of columns side by side: what one row has in common, they all have.
            return _shared(*rows)
    if high - low > _MOST_BYTES:
        return True
    bytes_here = torch.zeros(high - low, dtype=torch.bool, device="cpu")
    _view(bytes_here, here, low).fill_(True)
    return bool(_view(bytes_here, there, low).any())


def _view(memory: torch.Tensor, span: _Span, low: int) -> torch.Tensor:
    sizes, strides = zip(*span.dims, strict=True)
    return memory.as_strided(sizes, strides, span.start - low)
