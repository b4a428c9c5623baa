"""Python's collector of garbage, kept from what lives already while many objects are made.

It starts again and again where thousands of objects are made that stay, and then looks at all that the
process has: torch and the libraries of models bring hundreds of thousands of objects, which last.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# Who wants the old objects aside, in whatever thread; no lock, which a fork might leave closed: where two
# begin or end at once, the worst is that old objects are looked at.
_inside: list[None] = []
_ours = False


@contextlib.contextmanager
def old_objects_aside() -> Iterator[None]:
    """Within this, the collector looks at new objects alone.

    So it may be around a user's code, whose garbage is collected as ever; what was garbage before is
    collected afterwards. Nothing is done where somebody has set objects aside already (``gc.freeze``): those
    are not ours to give back.
    """
    global _ours
    _inside.append(None)
    if len(_inside) == 1 and gc.isenabled() and gc.get_freeze_count() == 0:
        _ours = True
        gc.freeze()
    try:
        yield
    finally:
        _inside.pop()
        if _ours and not _inside:
            _ours = False
            gc.unfreeze()


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
