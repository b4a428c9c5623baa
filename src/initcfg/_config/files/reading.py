"""Text of a config file: of a regular file, and of a size that a config may have."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

MOST_BYTES = 16 * 2**20

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def file_text(path: str) -> str:
    """The text of a file in UTF-8, with ``\\n`` at the end of each line.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger than a config is.
        ValueError: No file can have such a name; or a ``UnicodeDecodeError``.
    """
    text = _bytes(path).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bytes(path: str) -> bytes:
    # Opening a pipe waits for its other end, and opening a device may do something to it: look first. What
    # has taken the file's place by then is seen once it is open, which waits for nothing.
    with contextlib.suppress(FileNotFoundError):
        _check(os.stat(path), path)
    with open(path, "rb", opener=_opened) as file:
        _check(os.fstat(file.fileno()), path)
        data = file.read(MOST_BYTES + 1)  # files of /proc do not say their size
    if len(data) > MOST_BYTES:
        raise _too_large(path)
    return data


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check(found: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    for is_kind, name in _KINDS:
        if is_kind(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {name}, not a file", path)
    if found.st_size > MOST_BYTES:
        raise _too_large(path)


def _too_large(path: str) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {MOST_BYTES // 2**20} MiB, too many for a config", path)
