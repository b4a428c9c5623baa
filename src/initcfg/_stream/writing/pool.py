"""Threads that work, as many as the system gives: a container may allow fewer than it has cores.

As in the kernel, those that there are do all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def _nothing() -> None:
    pass


class Pool(ThreadPoolExecutor):
    """A pool that has at least one thread, or none: then who submits something does it."""

    def __init__(self, threads: int, name: str, begin: Callable[[], None] | None = None) -> None:
        super().__init__(threads, name, begin or _nothing)
        try:
            super().submit(int)
            self._empty = False
        except RuntimeError:
            self._empty = True

    def submit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> Future[_Result]:
        """As ever."""
        if not self._empty:
            return super().submit(fn, *args, **kwargs)
        future: Future[_Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()  # type: ignore[misc]
        except RuntimeError:
            if not self._threads:
                raise


def for_each(work: Callable[[_Item], object], items: Iterable[_Item], threads: int, name: str) -> None:
    """Do something for each item, on up to so many threads, of which this is one; the first error ends it."""
    left, lock = iter(items), threading.Lock()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not failed:
                with lock:
                    item = next(left, failed)
                if item is failed:
                    return
                work(item)  # pyright: ignore[reportArgumentType]
        except BaseException as error:
            failed.append(error)

    started: list[threading.Thread] = []
    for number in range(1, threads):
        thread = threading.Thread(target=run, name=f"{name}_{number}")
        try:
            thread.start()
        except RuntimeError:
            break
        started.append(thread)
    run()
    for thread in started:
        try:
            thread.join()
        except BaseException as error:
            # Ctrl-C: the others end at their next item.
            failed.insert(0, error)
            thread.join()
    if failed:
        raise failed[0]
