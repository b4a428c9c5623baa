"""A file that is written in long stretches, each at its place, by several threads.

Where the system lets it (``O_DIRECT``), the numbers go from our memory to the disk, and the system keeps no
copy: to make one takes a third of a core's time, and pushes out of memory what others keep there.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from threading import Lock

import torch

ALIGNMENT = 4096
"""What the memory, place and length of a direct write are multiples of."""

_OWN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# What systems say that cannot write directly, when the file is opened or at its first write.
_CANNOT = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


def aligned_memory(size: int) -> torch.Tensor:
    """Bytes that a direct write may take."""
    memory = torch.empty(size + ALIGNMENT, dtype=torch.uint8, device="cpu")
    first = -memory.data_ptr() % ALIGNMENT
    return memory[first : first + size]


class OutputFile:
    """A new file.

    Attributes:
        direct: Whether long writes go to the disk at once; no more, once the system has refused one.
    """

    def __init__(self, path: Path, *, direct: bool) -> None:
        self._handles = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OWN, 0o666)]
        self.direct = False
        if direct and hasattr(os, "O_DIRECT"):
            with contextlib.suppress(OSError):
                self._handles.append(os.open(path, os.O_WRONLY | os.O_DIRECT | _OWN))
                self.direct = True

    def write(self, data: memoryview, place: int) -> None:
        """Write all of it from a place on; what fills no block of the disk goes the usual way."""
        whole = len(data) - len(data) % ALIGNMENT
        if self.direct and whole and place % ALIGNMENT == 0:
            try:
                done = os.pwrite(self._handles[1], data[:whole], place)
                data, place = data[done:], place + done
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self.direct = False
        while data:
            done = _write(self._handles[0], data, place)
            data, place = data[done:], place + done

    def sync(self) -> None:
        """Have on disk what was written; of a closed file it is."""
        for handle in self._handles[:1]:
            os.fsync(handle)

    def close(self) -> None:
        """Let go of it."""
        while self._handles:
            os.close(self._handles.pop())


if hasattr(os, "pwrite"):

    def _write(handle: int, data: memoryview, place: int) -> int:
        return os.pwrite(handle, data, place)

else:
    _lock = Lock()

    def _write(handle: int, data: memoryview, place: int) -> int:
        # The position is the handle's own, whichever thread moves it.
        with _lock:
            os.lseek(handle, place, os.SEEK_SET)
            return os.write(handle, data)
