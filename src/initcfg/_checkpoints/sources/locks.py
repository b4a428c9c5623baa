"""A lock between processes, which the system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def lock(path: Path, poll: float = 0.05) -> Iterator[bool]:
    """Hold the lock file at ``path``, waiting for whoever holds it.

    The file stays: to remove it could make two processes hold two files of one name.

    Args:
        path: The lock file; its folder exists.
        poll: Seconds between looks.

    Returns:
        Whether the lock is held: False where the file system has no locks.

    Raises:
        OSError: The file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _wait(handle, poll)
    finally:
        # Closing lets go of it.
        os.close(handle)


def _wait(handle: int, poll: float) -> bool:
    while True:
        try:
            _try(handle)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            if error.errno not in _BUSY:
                raise
        else:
            return True
        time.sleep(poll)


if sys.platform == "win32":
    import msvcrt

    def _try(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try(handle: int) -> None:
        # flock and not lockf: it also holds between the threads of one process.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
