"""Writes that wait for the kernel: many in one call, in order where they share memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from initcfg._stream.bits import BYTES, Dim, Job, Recipe, kernel
from initcfg._stream.writing import fallback
from initcfg._stream.writing.threads import thread_count

# Elements in one call of the kernel: between calls there is progress, and Ctrl-C is heard.
_AT_ONCE = 1 << 25
_SLOW = 10**7
# From so many runs on, columns are packed in less time than jobs.
_COLUMNS = 16
_warned = False


class _Queued(NamedTuple):
    """A write that waits: its place in the order, its tensor, and what the kernel is told."""

    order: int
    tensor: torch.Tensor
    job: Job


class Queue:
    """Blocks to be drawn into tensors.

    Most are whole tensors in one run of memory, and there are thousands, so these are kept in columns.

    Args:
        tell: Told how many elements were written, now and then.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._threads = thread_count()
        self._blocks: list[_Queued] = []
        self._runs = kernel.Runs()
        self._run_tensors: list[torch.Tensor] = []
        self._run_orders: list[int] = []
        self._elements = 0
        self._order = 0

    def next_write(self) -> None:
        """What is queued from here on comes after what was queued before, where they share memory."""
        self._order += 1

    def add_run(self, tensor: torch.Tensor, dtype: str, recipe: Recipe, key: int) -> None:
        """Queue a whole tensor, which is one run of memory."""
        count = tensor.numel()
        if count > _AT_ONCE:
            self.add(tensor, Job(tensor.data_ptr(), dtype, recipe, key, 0, (Dim(count, 1, 1),)))
            return
        self._runs.add(tensor.data_ptr(), dtype, recipe, key, count)
        self._run_tensors.append(tensor)
        self._run_orders.append(self._order)
        self._elements += count
        if self._elements >= _AT_ONCE:
            self.flush()

    def add(self, tensor: torch.Tensor, job: Job) -> None:
        """Queue a block of any shape."""
        for piece in _portions(job):
            count = elements(piece.dims)
            if self._elements and self._elements + count > _AT_ONCE:
                self.flush()
            self._blocks.append(_Queued(self._order, tensor, piece))
            self._elements += count
        if self._elements >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Do every write that was queued."""
        blocks, self._blocks = self._blocks, []
        runs, self._runs = self._runs, kernel.Runs()
        tensors, self._run_tensors = self._run_tensors, []
        orders, self._run_orders = self._run_orders, []
        count, self._elements = self._elements, 0
        if not count:
            return
        if kernel.available() and len(runs) >= _COLUMNS and not blocks and not runs.overlap():
            kernel.fill([], self._threads, runs=runs)
            torch.autograd.graph.increment_version(tensors)
        else:
            queue = [*map(_Queued, orders, tensors, runs.jobs()), *blocks]
            queue.sort(key=lambda each: each.order)
            self._do_in_order(queue)
        self._tell(count)

    def now(self, tensor: torch.Tensor, job: Job) -> None:
        """Draw one block at once."""
        self._do([_Queued(0, tensor, job)])

    def _do_in_order(self, queue: list[_Queued]) -> None:
        for batch in [queue] if _disjoint(queue) else _by_order(queue):
            self._do(batch)
            torch.autograd.graph.increment_version([each.tensor for each in batch])

    def _do(self, batch: list[_Queued]) -> None:
        if kernel.available():
            kernel.fill([each.job for each in batch], self._threads)
            return
        _warn_once(sum(elements(each.job.dims) for each in batch))
        for tensor, job in ((each.tensor, each.job) for each in batch):
            drawn = torch.from_numpy(fallback.draw(job.recipe, job.key, job.base, job.dims))
            start = tensor.storage_offset() + (job.pointer - tensor.data_ptr()) // tensor.element_size()
            memory = torch.as_strided(
                tensor.detach(), [dim.size for dim in job.dims], [dim.stride for dim in job.dims], start
            )
            with torch.no_grad():
                memory.copy_(drawn.view(memory.shape))


def elements(dims: Iterable[Dim]) -> int:
    """How many elements a block has."""
    count = 1
    for dim in dims:
        count *= dim.size
    return count


def _warn_once(count: int) -> None:
    global _warned
    if _warned or count <= _SLOW:
        return
    _warned = True
    logging.getLogger("initcfg").warning(
        "The stream's kernel is not used (%s), so large tensors take several times as long. "
        "Install a wheel of initcfg, or a Rust toolchain (rustup.rs) and initcfg again.",
        kernel.why_not(),
    )


def _portions(job: Job) -> Iterable[Job]:
    """The job in pieces of at most ``_AT_ONCE`` elements, where a dimension can be cut."""
    return (job,) if elements(job.dims) <= _AT_ONCE else _cut(job)


def _cut(job: Job) -> Iterator[Job]:
    outer = job.dims[0]
    step = max(1, _AT_ONCE // (elements(job.dims) // outer.size))
    for start in range(0, outer.size, step):
        length = min(step, outer.size - start)
        piece = job._replace(
            pointer=job.pointer + start * outer.stride * BYTES[job.dtype],
            base=job.base + start * outer.index_stride,
            dims=(outer._replace(size=length), *job.dims[1:]),
        )
        if length == 1 and len(job.dims) > 1:
            yield from _portions(piece._replace(dims=job.dims[1:]))
        else:
            yield piece


def _disjoint(queue: list[_Queued]) -> bool:
    """Whether no two writes of different order share memory."""
    reach, owner = 0, -1
    for start, stop, order in sorted((*_span(each.job), each.order) for each in queue):
        if start < reach and order != owner:
            return False
        if stop > reach:
            reach, owner = stop, order
    return True


def _by_order(queue: list[_Queued]) -> Iterator[list[_Queued]]:
    batch: list[_Queued] = []
    for each in queue:
        if batch and batch[-1].order != each.order:
            yield batch
            batch = []
        batch.append(each)
    yield batch


def _span(job: Job) -> tuple[int, int]:
    reach = 1
    for size, stride, _ in job.dims:
        reach += (size - 1) * stride
    return job.pointer, job.pointer + reach * BYTES[job.dtype]
