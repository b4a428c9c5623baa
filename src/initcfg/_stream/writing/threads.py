"""How many threads compute: those that torch may use, or as many as were asked for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import torch

from initcfg._stream.environment import number
from initcfg.errors import ArgumentError, plural

_MOST = 4096
# What was asked for within each thread, and torch's own number from before anybody asked.
_own = threading.local()
_lock = threading.Lock()
_limits: list[int] = []
_of_torch = 0


def thread_count() -> int:
    """How many threads may be used: those asked for, else ``INITCFG_THREADS``, else what torch uses."""
    asked: int | None = getattr(_own, "asked", None)
    return asked or int(number("INITCFG_THREADS", min(torch.get_num_threads(), _MOST)))


def limit_this_thread(count: int) -> None:
    """From here on, this thread has so many to work with."""
    _own.asked = count


def threads_for(asked: int) -> int:
    """A number of threads; a negative one leaves so many of this process's cores to others.

    Example:
        >>> from initcfg._stream.writing.threads import threads_for
        >>> threads_for(3), 1 <= threads_for(-1) <= own_cores()
        (3, True)
    """
    if isinstance(asked, bool) or not isinstance(asked, int) or asked == 0 or asked > _MOST:
        raise ArgumentError(
            f"threads is {asked!r}, which is no number of threads.",
            fix=f"Give a whole number from 1 to {_MOST}; -1 leaves one core to others.",
        )
    if asked < -own_cores():
        raise ArgumentError(
            f"threads is {asked}, and this process has {plural(own_cores(), 'core')} to leave to others.",
            fix="Give a whole number above 0; -1 leaves one core to others.",
        )
    return asked if asked > 0 else max(1, own_cores() + asked)


def own_cores() -> int:
    """How many cores this process may use.

    Example:
        >>> from initcfg._stream.writing.threads import own_cores
        >>> own_cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def limited_threads(asked: int | None) -> Iterator[None]:
    """Within this, so many threads compute for this one, torch's own too; as many as ever if None."""
    global _of_torch
    if asked is None:
        yield
        return
    count, before = threads_for(asked), getattr(_own, "asked", None)
    with _lock:
        # Torch's number is one for all threads: the last to end gives back what the first has found.
        _of_torch = torch.get_num_threads() if not _limits else _of_torch
        _limits.append(count)
        torch.set_num_threads(count)
    _own.asked = count
    try:
        yield
    finally:
        _own.asked = before
        with _lock:
            _limits.remove(count)
            torch.set_num_threads(before or _of_torch)
