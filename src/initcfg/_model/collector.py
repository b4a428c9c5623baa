"""Python's collector of garbage, kept from what lives already while many objects are made.

It starts again and again where thousands of objects are made that stay, and then looks at all that the
process has: torch and the libraries of models bring hundreds of thousands of objects, which last.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# So many new objects begin a collection, in place of some hundred: a look at them takes some milliseconds,
# and one at all others comes after a hundred of these.
_SELDOM = 50_000
# Who wants fewer, in whatever thread; no lock, which a fork might leave closed: where two begin or end at
# once, the worst is that there are as many as ever.
_inside: list[None] = []
_before: tuple[int, int, int] | None = None


@contextlib.contextmanager
def fewer_collections() -> Iterator[None]:
    """Within this, Python collects garbage less often.

    So it may be around a user's code, whose garbage is collected still. The objects keep their generations,
    and the collector what it has counted: set aside (``gc.freeze``) they would all be old afterwards, and the
    collector would take the few that it has seen meanwhile for all that there are.
    """
    global _before
    _inside.append(None)
    if len(_inside) == 1 and gc.isenabled():
        often = gc.get_threshold()
        if 0 < often[0] < _SELDOM:
            _before = often
            gc.set_threshold(_SELDOM, *often[1:])
    try:
        yield
    finally:
        _inside.pop()
        before = _before
        if before is not None and not _inside:
            _before = None
            # Else somebody has set another meanwhile.
            if gc.get_threshold()[0] == _SELDOM:
                gc.set_threshold(*before)


@contextlib.contextmanager
def paused_collector() -> Iterator[bool]:
    """Collect no garbage while our own code makes many small objects that last and hold no cycles.

    Reference counts still free what is let go. Yields whether garbage was collected before.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield enabled
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def collecting(enabled: bool) -> Iterator[None]:
    """Within a pause, collect if it was so before: for code of others, which may make cycles of any size."""
    if enabled:
        gc.enable()
    try:
        yield
    finally:
        if enabled:
            gc.disable()
