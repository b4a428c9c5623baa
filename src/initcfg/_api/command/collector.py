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
    # What is frozen is left alone: the memory goes with the process.
    atexit.register(gc.freeze)


def work_begins() -> None:
    """Collect again, but look no more at what is there already. Nothing, unless we paused it."""
    global _started_by_us
    if _started_by_us:
        _started_by_us = False
        gc.freeze()
        gc.enable()
