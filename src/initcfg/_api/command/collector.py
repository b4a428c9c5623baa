"""Python's collector of garbage, out of the way while a command starts and ends.

torch brings hundreds of thousands of objects that last. Each full collection while it and our modules are
loaded, and the one at the end, looks at all of them and frees none: more than a second in three.
"""

from __future__ import annotations

import atexit
import gc

_started_by_us = False


def pause_until_work() -> None:
    """Collect nothing until the work begins, and nothing of what is left when the process ends."""
    global _started_by_us
    _started_by_us = gc.isenabled()
    gc.disable()
    atexit.register(_end)


def _end() -> None:
    """Leave what there is alone, since the memory goes with the process; unless a library minds that.

    Libraries that were bound by nanobind, as Triton is, count what is left of theirs and complain at length.
    """
    if any(each.__module__ == "nanobind" for each in type.__subclasses__(type)):
        gc.unfreeze()
    else:
        gc.freeze()


def work_begins() -> None:
    """Collect again, but look no more at what is there already. Nothing, unless we paused it."""
    global _started_by_us
    if _started_by_us:
        _started_by_us = False
        gc.freeze()
        gc.enable()
