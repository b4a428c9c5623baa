"""Threads that followed code starts: what they do is that code's, as if it had called their functions itself.

A dispatch mode is of one thread. So a function that another thread is to run for the code runs there under
the modes that follow the code, one operation at a time. A pool may have its threads from before: of it the
tasks are followed, and not the threads.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import multiprocessing.pool
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from initcfg._model import DispatchMode
from initcfg._record.process_wide import ProcessWide, of_ours, replace_attribute
from initcfg._record.recording.origin import code_that_writes

_OF_POOLS = ("apply_async", "map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered")


class Followed:
    """Code that a mode follows, and what it has other threads do.

    Args:
        mode: The mode, which is told of the operations of those threads too.
        stops: Whether threads that outlive the code are ended at their next operation: what they write then
            would no longer be apart. Else they go on by themselves.
    """

    def __init__(self, mode: TorchDispatchMode, *, stops: bool = False) -> None:
        self.mode = mode
        self.stops = stops
        self.over = False
        self.lock = threading.RLock()
        # What functions raised that other threads ran.
        self.raised: list[BaseException] = []
        self._tasks: list[_Task] = []

    @property
    def unfinished(self) -> list[str]:
        """Where code had other threads do something that is not done: file, line and function."""
        return list(dict.fromkeys(task.place for task in self._tasks if not task.is_done()))

    def end(self) -> list[str]:
        """What it has other threads do is no longer followed; where it began what is not done."""
        with self.lock:
            self.over = True
        return self.unfinished

    def add(self, task: _Task) -> None:
        """The code has another thread do something."""
        self._tasks.append(task)


class _Task:
    """A function that another thread is to call, on behalf of code that is followed."""

    def __init__(self, function: Callable[..., Any], codes: tuple[Followed, ...]) -> None:
        self._function = function
        self._codes = codes
        self._context = copy_context()
        self._running = 0
        self._called = False
        # Says whether all calls are done, where something knows.
        self.asked: Callable[[], bool] | None = None
        origin = code_that_writes()
        self.place = f"{origin.place} {origin.code}"
        for code in codes:
            code.add(self)

    def is_done(self) -> bool:
        """Whether it was called, and has returned."""
        return self.asked() if self.asked is not None else self._called and not self._running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._running += 1
        self._called = True
        try:
            with _as_in(self._context, self._codes):
                return self._function(*args, **kwargs)
        except BaseException as error:
            for code in self._codes:
                code.raised.append(error)
            raise
        finally:
            self._running -= 1


class _Ended(SystemExit):
    """Ends a thread at an operation, without a word."""


class _Elsewhere(DispatchMode):
    """In another thread, what the mode does that follows the code."""

    def __init__(self, followed: Followed) -> None:
        super().__init__()
        self._followed = followed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        followed = self._followed
        with followed.lock:
            if not followed.over:
                return followed.mode.__torch_dispatch__(func, types, args, kwargs or {})
        if followed.stops:
            raise _Ended
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def threads_follow(followed: Followed) -> Iterator[Followed]:
    """Within this, what code of this thread has other threads do is followed as well."""
    with _following.needed((*(_following.here() or ()), followed)):
        try:
            yield followed
        finally:
            followed.end()


def keep_following() -> contextlib.AbstractContextManager[None]:
    """Within this, nothing more is followed, but what it takes stays in place."""
    return _following.needed(_following.here() or ())


def follow_nothing() -> contextlib.AbstractContextManager[None]:
    """Within this, nothing is followed."""
    return _following.needed(())


def _install(undo: contextlib.ExitStack) -> None:
    start, start_new_thread = threading.Thread.start, _thread.start_new_thread
    make_pool = multiprocessing.pool.ThreadPool.__init__

    @functools.wraps(start)
    def start_followed(thread: threading.Thread) -> None:
        if codes := _following.here():
            thread.run = _Task(_run_of(thread), codes)  # type: ignore[method-assign]
        start(thread)

    @functools.wraps(start_new_thread)
    def start_new_followed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
        codes = _following.here()
        return start_new_thread(_Task(function, codes) if codes else function, *args, **kwargs)

    @functools.wraps(make_pool)
    def make_followed(*args: Any, **kwargs: Any) -> None:
        with _following.needed(()):
            make_pool(*args, **kwargs)

    replace_attribute(undo, threading.Thread, "start", start_followed)
    replace_attribute(undo, _thread, "start_new_thread", start_new_followed)
    replace_attribute(undo, multiprocessing.pool.ThreadPool, "__init__", make_followed)
    replace_attribute(undo, ThreadPoolExecutor, "submit", _handing_on(ThreadPoolExecutor.submit))
    for name in _OF_POOLS:
        pool = multiprocessing.pool.Pool
        replace_attribute(undo, pool, name, _handing_on(getattr(pool, name)))


_following: ProcessWide[tuple[Followed, ...]] = ProcessWide(_install)


def _run_of(thread: threading.Thread) -> Callable[[], None]:
    """A thread's own ``run``, which it will have again."""
    before, run = vars(thread).get("run"), thread.run

    def function() -> None:
        del thread.run
        if before is not None:
            thread.run = before  # type: ignore[method-assign]
        with contextlib.suppress(_Ended):
            run()

    return function


def _handing_on(original: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a pool that takes a function for its threads."""

    @functools.wraps(original)
    def method(pool: Any, *args: Any, **kwargs: Any) -> Any:
        codes = _following.here()
        if not codes or not isinstance(pool, (ThreadPoolExecutor, multiprocessing.pool.ThreadPool)):
            return original(pool, *args, **kwargs)
        function, *rest = args or (kwargs.pop("func"),)
        task = _Task(function, codes)
        # A thread that the pool starts for it may go on to do others.
        with _following.needed(()):
            made = original(pool, task, *rest, **kwargs)
        task.asked = getattr(made, "done", None) or getattr(made, "ready", None)
        return made

    return method


@contextlib.contextmanager
def _as_in(context: Context, codes: tuple[Followed, ...]) -> Iterator[None]:
    """Within this, the thread is followed as that was in which the code runs."""
    with contextlib.ExitStack() as stack:
        for variable, value in of_ours(context):
            stack.callback(variable.reset, variable.set(value))
        for code in codes:
            stack.enter_context(_Elsewhere(code))
        yield
