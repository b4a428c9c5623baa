"""Writes that wait for the kernel: many in one call, in order where they share memory."""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from initcfg._stream.bits import BYTES, FIRST, Dim, Job, Keys, Kind, Recipe, kernel, many_keys, name_texts
from initcfg._stream.writing import fallback
from initcfg._stream.writing.blocks import cut, elements, strided_view
from initcfg._stream.writing.matrices import Share, make_matrices
from initcfg._stream.writing.threads import thread_count
from initcfg._stream.writing.underflow import gradual_underflow
from initcfg.errors import (
    log,
)

# Elements in one call of the kernel: between calls there is progress, and Ctrl-C is heard.
_AT_ONCE = 1 << 25
_SLOW = 10**7
_warned = False


class _Queued(NamedTuple):
    """A write that waits: its place in the order, its tensor, and what the kernel is told."""

    order: int
    tensor: torch.Tensor
    job: Job


class _Wanted(NamedTuple):
    """Matrices that wait: their place in the order, their tensor, and what it wants of each."""

    order: int
    tensor: torch.Tensor
    shares: list[Share]


class Batch:
    """Whole tensors, each one run of memory, as columns; see :meth:`Queue.add_whole`.

    Kinds of tensors that are alike are one object; ``names`` are those under which their numbers are drawn.
    """

    def __init__(
        self, tensors: list[torch.Tensor], kinds: list[tuple[str, Recipe]], names: Sequence[str]
    ) -> None:
        self.tensors = tensors
        self.kinds = kinds
        self.keys: Sequence[int | bytes] = name_texts(names)
        constant = {id(kind) for kind in kinds if kind[1].kind is Kind.CONSTANT}
        if constant:
            self.keys = [
                0 if id(kind) in constant else key for kind, key in zip(kinds, self.keys, strict=True)
            ]
        self.counts = list(map(torch.Tensor.numel, tensors))
        # The elements before each, and of all.
        self.totals = list(itertools.accumulate(self.counts, initial=0))


class Queue:
    """Blocks to be drawn into tensors.

    Most are whole tensors in one run of memory, and there are thousands, so these are kept apart; ``tell``
    is told how many elements were written, now and then; ``keys`` are those of the seed.
    """

    def __init__(self, keys: Keys, tell: Callable[[int], None]) -> None:
        self._keys = keys
        self._tell = tell
        self._threads = thread_count()
        self._order = 0
        self._clear()

    def _clear(self) -> None:
        self._blocks: list[_Queued] = []
        self._whole = kernel.WholeTensors()
        self._whole_keys: list[int | bytes] = []
        self._whole_tensors: list[torch.Tensor] = []
        self._whole_orders: list[int] = []
        self._matrices: list[_Wanted] = []
        self._elements = 0

    def next_write(self) -> None:
        """What is queued from here on comes after what was queued before, where they share memory."""
        self._order += 1

    def add_whole(self, tensor: torch.Tensor, kind: tuple[str, Recipe], key: int | bytes) -> None:
        """Queue a whole tensor, which is one run of memory, as the next write.

        ``key`` may be the name in UTF-8 whose key it is, to be found together with others.
        """
        self._order += 1
        count = tensor.numel()
        if count > _AT_ONCE:
            number = self._keys.of_text(key, FIRST) if isinstance(key, bytes) else key
            self.add(tensor, Job(tensor.data_ptr(), *kind, number, 0, (Dim(count, 1, 1),)))
            return
        self._whole.pointers.append(tensor.data_ptr())
        self._whole.kinds.append(kind)
        self._whole.counts.append(count)
        self._whole_keys.append(key)
        self._whole_tensors.append(tensor)
        self._whole_orders.append(self._order)
        self._elements += count
        if self._elements >= _AT_ONCE:
            self.flush()

    def add_many(self, batch: Batch, first: int) -> int:
        """Queue the tensors of a batch from ``first`` on, as far as they can wait; where the rest begins.

        What is left begins with one that is to be added by itself.
        """
        done = batch.totals[first]
        last = bisect.bisect_left(batch.totals, done + _AT_ONCE - self._elements) - 1
        if last <= first:
            return first
        count, tensors = last - first, batch.tensors[first:last]
        self._whole.pointers.extend(map(torch.Tensor.data_ptr, tensors))
        self._whole.kinds += batch.kinds[first:last]
        self._whole.counts.extend(batch.counts[first:last])
        self._whole_keys += batch.keys[first:last]
        self._whole_tensors += tensors
        self._whole_orders += range(self._order + 1, self._order + 1 + count)
        self._order += count
        self._elements += batch.totals[last] - done
        return last

    def add(self, tensor: torch.Tensor, job: Job) -> None:
        """Queue a block of any shape."""
        for dims, base, offset in cut(job.dims, job.base, _AT_ONCE):
            count = elements(dims)
            if self._elements and self._elements + count > _AT_ONCE:
                self.flush()
            part = job._replace(pointer=job.pointer + offset * BYTES[job.dtype], base=base, dims=dims)
            self._blocks.append(_Queued(self._order, tensor, part))
            self._elements += count
        if self._elements >= _AT_ONCE:
            self.flush()

    def add_matrices(self, tensor: torch.Tensor, shares: list[Share]) -> None:
        """Queue what a tensor of this machine's memory wants of matrices."""
        self._matrices.append(_Wanted(self._order, tensor, shares))
        self._elements += tensor.numel()
        if self._elements >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Do every write that was queued."""
        blocks, whole, matrices = self._blocks, self._whole, self._matrices
        tensors, orders = self._whole_tensors, self._whole_orders
        if not self._elements:
            return
        count = self._elements - sum(each.tensor.numel() for each in matrices)
        whole.keys = self._numbers(self._whole_keys)
        self._clear()
        if not blocks and not matrices and kernel.available() and not whole.overlap():
            kernel.fill([], self._threads, whole=whole)
            torch.autograd.graph.increment_version(tensors)
        else:
            order = operator.attrgetter("order")
            queue: list[_Queued | _Wanted]
            queue = sorted([*map(_Queued, orders, tensors, whole.jobs()), *blocks, *matrices], key=order)
            by_order = [list(batch) for _, batch in itertools.groupby(queue, order)]
            for batch in [queue] if _disjoint(queue) else by_order:
                self._do([each for each in batch if isinstance(each, _Queued)])
                make_matrices(
                    [share for each in batch if isinstance(each, _Wanted) for share in each.shares],
                    self._threads,
                    self._tell,
                )
                torch.autograd.graph.increment_version([each.tensor for each in batch])
        self._tell(count)

    def _numbers(self, keys: list[int | bytes]) -> Sequence[int]:
        """The keys, those of names found together."""
        texts = [key for key in keys if isinstance(key, bytes)]
        numbers = many_keys(self._keys, texts)
        if len(texts) == len(keys):
            return numbers
        found = iter(numbers)
        return [next(found) if isinstance(key, bytes) else key for key in keys]

    def now(self, tensor: torch.Tensor, job: Job) -> None:
        """Draw one block at once."""
        self._do([_Queued(0, tensor, job)])

    def _do(self, batch: list[_Queued]) -> None:
        if not batch:
            return
        if kernel.available():
            kernel.fill([each.job for each in batch], self._threads)
            return
        _warn_once(sum(elements(each.job.dims) for each in batch))
        for _, tensor, job in batch:
            offset = (job.pointer - tensor.data_ptr()) // tensor.element_size()
            memory = strided_view(tensor, job.dims, offset)
            with torch.no_grad(), gradual_underflow():
                if job.recipe.kind is Kind.CONSTANT and math.isnan(job.recipe.numbers[0]):
                    # Not copied: which NaN a copy to a type of 16 bits gives depends on the machine.
                    memory.fill_(math.nan)
                    continue
                fallback.fill(memory, job.recipe, job.key, job.base, job.dims, self._threads)


def draw_alone(tensor: torch.Tensor, dtype: str, recipe: Recipe, key: int) -> bool:
    """Draw a whole tensor, which is one run of memory, at once; whether the kernel could do so."""
    count = tensor.numel()
    if count > _AT_ONCE or not kernel.available():
        return False
    kernel.fill_one(tensor.data_ptr(), dtype, recipe, key, count, thread_count())
    torch.autograd.graph.increment_version(tensor)
    return True


def _warn_once(count: int) -> None:
    global _warned
    if _warned or count <= _SLOW:
        return
    _warned = True
    log(
        "The stream's kernel is not used (%s), so large tensors take several times as long. "
        "Install a wheel of initcfg, or a Rust toolchain (rustup.rs) and initcfg again.",
        kernel.why_not(),
    )


def _disjoint(queue: list[_Queued | _Wanted]) -> bool:
    """Whether no two writes of different order share memory."""
    reach, owner = 0, -1
    for start, stop, order in sorted((*_span(each), each.order) for each in queue):
        if start < reach and order != owner:
            return False
        if stop > reach:
            reach, owner = stop, order
    return True


def _span(queued: _Queued | _Wanted) -> tuple[int, int]:
    if isinstance(queued, _Wanted):
        tensor = queued.tensor
        dims = zip(tensor.shape, tensor.stride(), strict=True)
        reach = 1 + sum((size - 1) * stride for size, stride in dims)
        return tensor.data_ptr(), tensor.data_ptr() + reach * tensor.element_size()
    job = queued.job
    reach = 1 + sum((dim.size - 1) * dim.stride for dim in job.dims)
    return job.pointer, job.pointer + reach * BYTES[job.dtype]
