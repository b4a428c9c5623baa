"""How many threads compute: those that torch may use, or as many as were asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from initcfg._stream.environment import number
from initcfg.errors import ArgumentError

_MOST = 4096
_asked: int | None = None


def thread_count() -> int:
    """How many threads may be used: those asked for, else ``INITCFG_THREADS``, else what torch uses."""
    return _asked or int(number("INITCFG_THREADS", min(torch.get_num_threads(), _MOST)))


def threads_for(asked: int) -> int:
    """A number of threads; a negative one leaves so many of this process's cores to others.

    Example:
        >>> from initcfg._stream.writing.threads import threads_for
        >>> threads_for(3), threads_for(-10_000)
        (3, 1)
    """
    if isinstance(asked, bool) or not isinstance(asked, int) or asked == 0 or asked > _MOST:
        raise ArgumentError(
            f"threads is {asked!r}, which is no number of threads.",
            fix=f"Give a whole number from 1 to {_MOST}; -1 leaves one core to others.",
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
    """Within this, so many threads compute, torch's own too; as many as ever if None."""
    global _asked
    if asked is None:
        yield
        return
    before, of_torch = _asked, torch.get_num_threads()
    _asked = threads_for(asked)
    torch.set_num_threads(_asked)
    try:
        yield
    finally:
        _asked = before
        torch.set_num_threads(of_torch)
