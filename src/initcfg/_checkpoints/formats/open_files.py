"""Files of checkpoints: regular ones only, which are the same for as long as they are read.

Only some are open at a time, so that a checkpoint of a thousand shards needs no thousand handles. Nothing is
mapped unless asked: a mapped file that becomes shorter ends the process, and a read that fails is an error.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import operator
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from initcfg._checkpoints.formats.mapped_file import Mappings, mapped

_MOST_OPEN = 64
_FLAGS = functools.reduce(
    operator.or_, (getattr(os, name, 0) for name in ("O_RDONLY", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
)
_NO_HANDLES = {errno.EMFILE, errno.ENFILE}


Read = Callable[[memoryview, int], None]
"""Fills memory with the bytes from a position on."""


class FileChanged(Exception):
    """A file is not what it was when it was opened first: ``"it became shorter"``."""


class _Version(NamedTuple):
    """What tells one state of a file from the next."""

    device: int
    inode: int
    size: int
    modified: int


def open_regular(path: str | os.PathLike[str]) -> int:
    """A handle for reading a regular file.

    A folder, a pipe, a socket and a device are an OSError, and not waited for.
    """
    # First by its name: opening a device may do something to it.
    _check_regular(os.stat(path))
    # By then it may be a pipe.
    handle = os.open(path, _FLAGS)
    try:
        _check_regular(os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is neither a file nor a folder")


class OpenFile:
    """A regular file, open now or again when it is needed.

    Raises:
        OSError, ValueError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False
        self._handle: int | None = None
        self._users = 0
        self._mappings = Mappings()
        with self._used() as handle:
            self._version = _version(handle)
        self.size = self._version.size

    @contextlib.contextmanager
    def reading(self) -> Iterator[Read]:
        """Gives a function that fills memory with the bytes from a position on.

        Raises:
            FileChanged: The file is not the one that was opened first, at the latest at the end of this.
            OSError: It cannot be read.
        """
        with self._used() as handle:
            yield functools.partial(_filled, handle)
            if _version(handle) != self._version:
                raise FileChanged("it was written to")

    def mapped(self, start: int, length: int) -> torch.UntypedStorage:
        """A stretch of it as memory, which it stays when the file is closed; twice, these are two memories.

        Raises:
            FileChanged: The file is not the one that was opened first.
            OSError: It cannot be mapped.
        """

        def fresh() -> torch.UntypedStorage:
            with self._used() as handle:
                made = mapped(self.path, handle, self.size)
                if _version(handle) != self._version or _of(os.stat(self.path)) != self._version:
                    raise FileChanged("it was written to, or another took its place")
                return made

        return self._mappings.take(start, length, fresh)

    def close(self) -> None:
        """Let go of the file for good."""
        with _lock:
            self.closed = True
            if not self._users:
                self._let_go()

    @contextlib.contextmanager
    def _used(self) -> Iterator[int]:
        """The handle; while it is used, nobody closes it."""
        with _lock:
            if self._handle is None:
                self._handle = self._opened()
            handle = self._handle
            self._users += 1
            # The last of them was used last.
            _open.pop(self, None)
            _open[self] = None
        try:
            yield handle
        finally:
            with _lock:
                self._users -= 1
                if self.closed and not self._users:
                    self._let_go()

    def _opened(self) -> int:
        _make_room(_most_open() - 1)
        try:
            handle = open_regular(self.path)
        except OSError as error:
            if error.errno not in _NO_HANDLES:
                raise
            _make_room(0)
            handle = open_regular(self.path)
        known = getattr(self, "_version", None)
        if known is not None and _version(handle) != known:
            os.close(handle)
            raise FileChanged("another took its place, or it was written to")
        return handle

    def _let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        _open.pop(self, None)


# All that are open, and the lock of their states.
_open: dict[OpenFile, None] = {}
_lock = threading.RLock()


def _renewed() -> None:
    """In a child process: whoever held the lock does not exist there."""
    global _lock
    _lock = threading.RLock()
    for file in _open:
        file._users = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renewed)


def _make_room(most: int) -> None:
    """Close those that were not used for the longest time, until only ``most`` are open."""
    for file in list(_open):
        if len(_open) <= most:
            return
        if not file._users:
            file._let_go()


def _most_open() -> int:
    """How many files may be open at a time: a few of those that the system allows the process."""
    try:
        import resource
    except ImportError:
        return _MOST_OPEN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if soft < 0 else max(1, min(_MOST_OPEN, soft // 4))


def _version(handle: int) -> _Version:
    return _of(os.fstat(handle))


def _of(found: os.stat_result) -> _Version:
    return _Version(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _filled(handle: int, target: memoryview, position: int) -> None:
    done = _read(handle, target, position)
    while done < len(target):
        count = _read(handle, target[done:], position + done)
        if not count:
            raise FileChanged("it became shorter")
        done += count


if hasattr(os, "preadv"):

    def _read(handle: int, target: memoryview, position: int) -> int:
        return os.preadv(handle, [target], position)

else:

    def _read(handle: int, target: memoryview, position: int) -> int:
        # The position is the handle's own, whichever thread moves it.
        with _lock:
            os.lseek(handle, position, os.SEEK_SET)
            data = os.read(handle, min(len(target), 1 << 22))
        target[: len(data)] = data
        return len(data)
