"""A file mapped into memory: its bytes are tensors' memory, read when they are touched, and never written.

The mapping is private: who writes to such a tensor gets copies of its pages, and the file stays what it is.
A mapped file that becomes shorter ends the process that touches what is gone: only who asks for it gets one.
"""

from __future__ import annotations

import bisect
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import torch

_HANDLES = "/proc/self/fd"
# A process has tens of thousands, and its memory needs some.
_MOST = 256


def mapped(path: Path, handle: int, size: int) -> torch.UntypedStorage:
    """All of an open file, privately; of that file itself where the system has a name for handles.

    Raises:
        OSError: It cannot be mapped.
    """
    name = f"{_HANDLES}/{handle}" if os.path.isdir(_HANDLES) else str(path)
    try:
        return torch.UntypedStorage.from_file(name, False, size)  # pyright: ignore[reportReturnType]
    except RuntimeError as error:
        raise OSError(str(error).partition("\n")[0]) from error


Fresh = Callable[[], torch.UntypedStorage]


class Mappings:
    """The mappings of one file: a stretch is given once, and again only from a mapping of its own.

    So two tensors that are one place in the file do not become one in memory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Each with the stretches that were given: where they begin and end, in order.
        self._made: list[tuple[torch.UntypedStorage, list[tuple[int, int]]]] = []

    def take(self, start: int, length: int, fresh: Fresh) -> torch.UntypedStorage:
        """The bytes of a stretch; ``fresh`` maps the file once more.

        Raises:
            OSError: It is mapped often enough.
        """
        with self._lock:
            free = (each for each in self._made if _is_free(each[1], start, start + length))
            found = next(free, None)
            if found is None:
                if len(self._made) == _MOST:
                    raise OSError(errno.ENOMEM, f"{_MOST} tensors lie at one place in it")
                found = fresh(), []
                self._made.append(found)
            whole, given = found
            bisect.insort(given, (start, start + length))
        return whole[start : start + length]  # pyright: ignore[reportReturnType]


def _is_free(given: list[tuple[int, int]], start: int, stop: int) -> bool:
    place = bisect.bisect_left(given, (start, start))
    before = place == 0 or given[place - 1][1] <= start
    return before and (place == len(given) or given[place][0] >= stop)
