"""Digests: what a file should be, and what it is."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import NamedTuple

from initcfg._checkpoints.formats import open_regular
from initcfg.errors import CheckpointError

_NAMED = re.compile(r"-([0-9a-f]{8,64})(?:\.[A-Za-z]\w*)+$")
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d*")
_BLOCK = 1 << 20

# What is written within so many nanoseconds of a write may get the same time: the clocks of file systems tick
# every few milliseconds, some every two seconds.
_TICK = 3 * 10**9


class _Known(NamedTuple):
    """A digest that was read, and when the file's record had changed last; 0 if that was just before."""

    digest: str
    changed: int


# A file that is looked for while planning and again while applying is read once, also if it is renamed.
_known: dict[tuple[int, int, int, int], _Known] = {}


def named_digest(name: str) -> str | None:
    """The beginning of a digest that a file name ends with, as torch.hub has it: ``resnet50-0676ba61.pth``.

    A date is not a digest.

    Example:
        >>> named_digest("resnet50-0676ba61.pth"), named_digest("resnet50-20240131.pth")
        ('0676ba61', None)
    """
    found = _NAMED.search(name)
    return None if found is None or _DATE.fullmatch(found[1]) else found[1]


@dataclass(frozen=True)
class Expected:
    """What is known of a file's digest beforehand: all of it, its start, or nothing; and who says so."""

    start: str | None
    said: str

    @classmethod
    def of(cls, name: str, sha256: str | None) -> Expected:
        """From the argument, or else from the name of the file."""
        return cls(named_digest(name), "its name") if sha256 is None else cls(sha256, "sha256=")

    def __bool__(self) -> bool:
        return self.start is not None

    def fits(self, digest: str) -> bool:
        """Whether a digest is the expected one; any is, if nothing is known."""
        return self.start is None or digest.startswith(self.start)

    def checked(self, path: Path, origin: str, fix: str) -> str | None:
        """The digest of a file, which must be the expected one; None if nothing is known.

        ``{digest}`` in ``fix`` stands for the digest that the file has.
        """
        if not self:
            return None
        try:
            digest = file_digest(path)
        except OSError as error:
            raise CheckpointError(f"The checkpoint {origin!r} cannot be read: {error.strerror}.") from error
        if not self.fits(digest):
            raise self.error(origin, digest, fix.format(digest=digest))
        return digest

    def error(self, origin: str, digest: str, fix: str) -> CheckpointError:
        """The file has another digest."""
        return CheckpointError(
            f"The checkpoint {origin!r} is not what {self.said} says: its SHA-256 digest is {digest}, "
            f"and should {'be' if len(self.start or '') == 64 else 'begin with'} {self.start}.",
            fix=fix,
        )


def is_settled(found: os.stat_result) -> bool:
    """Whether any write from now on will show in the file's times."""
    return time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _TICK


def file_digest(path: Path, *, exactly: bool = False) -> str:
    """SHA-256 of a regular file; read once for as long as the file is the same.

    ``exactly``: What was read before counts only if nothing at all can have happened to the file since.
    """
    stat = path.stat()
    settled = is_settled(stat)
    file = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _known.get(file)
    if known is None or (exactly and known.changed != stat.st_ctime_ns):
        digest = hashlib.sha256()
        buffer = bytearray(_BLOCK)
        with open(open_regular(path), "rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                digest.update(memoryview(buffer)[:count])
        known = _known[file] = _Known(digest.hexdigest(), stat.st_ctime_ns if settled else 0)
    return known.digest
