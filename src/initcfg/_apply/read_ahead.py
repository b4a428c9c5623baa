"""Reading ahead: several tensors of a checkpoint at a time, each by a thread of its own.

Most of the time goes by in memory that is touched for the first time, page by page, and then one thread does
not keep up with the disk. More of them at one tensor wait for each other at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import torch

from initcfg._plan import Loaded
from initcfg._stream.writing import Pool, limit_this_thread, thread_count
from initcfg.values import FromCheckpoint


class Read(NamedTuple):
    """A tensor that is to be filled from a checkpoint."""

    name: str
    tensor: torch.Tensor
    value: FromCheckpoint


class ReadAhead:
    """Tensors that are read before anybody asks for them; ``read`` reads one."""

    def __init__(
        self, wanted: Iterable[Read], read: Callable[[torch.Tensor, FromCheckpoint], Loaded]
    ) -> None:
        def work(each: Read) -> Loaded:
            with torch.no_grad():
                return read(each.tensor, each.value)

        wanted = list(wanted)
        threads = thread_count()
        abreast = max(1, min(threads, len(wanted)))
        # What is read beside others has its part of the threads.
        self._pool = Pool(abreast, "initcfg-reader", partial(limit_this_thread, threads // abreast))
        self._begun: dict[tuple[str, FromCheckpoint], Future[Loaded]] = {
            (each.name, each.value): self._pool.submit(work, each) for each in wanted
        }

    def result(self, name: str, value: FromCheckpoint) -> Loaded | None:
        """What was read, once it is; None if nobody wanted that."""
        begun = self._begun.pop((name, value), None)
        return None if begun is None else begun.result()

    def stop(self) -> list[str]:
        """Begin no more, and wait for the rest: the names of those that were touched and not asked for."""
        self._pool.shutdown(cancel_futures=True)
        touched = [name for (name, _), begun in self._begun.items() if not begun.cancelled()]
        self._begun.clear()
        return touched
