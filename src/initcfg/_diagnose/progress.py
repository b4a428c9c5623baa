"""What a long diagnosis is doing, for whoever wants to say it while it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_told: ContextVar[Callable[[str], object] | None] = ContextVar("_told", default=None)


@contextlib.contextmanager
def progress_told(say: Callable[[str], object]) -> Iterator[None]:
    """Within, ``say`` is called with what is done now."""
    before = _told.set(say)
    try:
        yield
    finally:
        _told.reset(before)


def tell(what: str) -> None:
    """Say what is done now, if anybody listens."""
    say = _told.get()
    if say is not None:
        say(what)
