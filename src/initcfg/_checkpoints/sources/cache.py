"""The cache on disk.

::

    <home>/checkpoints/<sha256>/<name>    the files; a folder for each content
    <home>/addresses/<key>.json           what an address led to: ETag, digest, size, name
    <home>/addresses/<key>.partial        a download that has not ended
    <home>/addresses/<key>.partial.json   which version of the file it is the beginning of
    <home>/addresses/<key>.lock           held while one process fetches

A file appears under ``checkpoints`` by a rename, after all of it is on the disk and its digest is known:
a process that is killed, or a disk that is full, leaves no incomplete file there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from initcfg._checkpoints.sources.address import key, shown
from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.progress import progress_bar
from initcfg._checkpoints.sources.settings import home
from initcfg.errors import CheckpointError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True)
class CacheEntry:
    """What an address led to.

    Attributes:
        origin: The address, for people who look into the cache.
        modified: The file's time of change when it was stored: another means that somebody wrote to it.
        etag: The version, as the server calls it; ``last_modified`` is its date.
        validated: When the server last said that this is the version.
    """

    origin: str
    name: str
    sha256: str
    size: int
    modified: int
    etag: str | None
    last_modified: str | None
    validated: float


class Cache:
    """The cache, seen from one address. What is written raises CheckpointError if there is no room."""

    def __init__(self, url: str) -> None:
        self.home = home()
        self.origin = shown(url)
        self._base = self.home / "addresses" / key(url)
        self.partial = self._with(".partial")

    def _with(self, suffix: str) -> Path:
        return self._base.with_name(self._base.name + suffix)

    def entry(self, expected: Expected) -> CacheEntry | None:
        """What the address led to; None if that is unknown, gone, damaged or not what is expected."""
        try:
            entry = CacheEntry(**json.loads(self._with(".json").read_text(encoding="utf-8")))
            stat = self.path(entry).stat()
        except (OSError, ValueError, TypeError):
            return None
        if expected and not expected.fits(entry.sha256):
            return None
        # The bytes say whether it is the file, where its time does not, or the digest matters.
        same = (stat.st_size, stat.st_mtime_ns) == (entry.size, entry.modified)
        if (same and not expected) or file_digest(self.path(entry)) == entry.sha256:
            return entry
        with contextlib.suppress(OSError):
            self.path(entry).unlink()
        return None

    def by_digest(self, expected: Expected) -> Path | None:
        """A file with a digest that is known in full, from whatever address it came."""
        if expected.start is None or len(expected.start) != 64:
            return None
        folder = self.home / "checkpoints" / expected.start
        with contextlib.suppress(OSError):
            for path in sorted(folder.iterdir()):
                if file_digest(path) == expected.start:
                    return path
                path.unlink()
        return None

    def path(self, entry: CacheEntry) -> Path:
        """Where the file of an entry is."""
        return self.home / "checkpoints" / entry.sha256 / entry.name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While this lasts, no other process fetches the address."""
        with self._writing():
            self._base.parent.mkdir(parents=True, exist_ok=True)
        held: contextlib.AbstractContextManager[Any]
        try:
            held = FileLock(self._with(".lock")).acquire()
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise self._cannot_write(error) from error
            # No locks on this file system: then nothing is shared, and nothing is resumed.
            self.partial = self._with(f".{os.getpid()}-{time.monotonic_ns()}.partial")
            held = contextlib.ExitStack()
            held.callback(self.drop_partial)
        with held:
            yield

    def partial_version(self) -> dict[str, Any]:
        """Which version the unfinished download is of; empty if there is none."""
        try:
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            return noted if isinstance(noted, dict) and self.partial.stat().st_size else {}
        except (OSError, ValueError):
            return {}

    def begin_partial(self, **version: Any) -> None:
        """Begin a download anew, of the version that is noted."""
        self.drop_partial()
        self._write(self._note, version)

    def receive(self, name: str, blocks: Iterable[bytes], total: int | None, offset: int = 0) -> int:
        """Append blocks to the ``offset`` bytes that are there; the size of all, then on the disk."""
        free = shutil.disk_usage(self.home).free
        if total is not None and total - offset > free:
            self.drop_partial()
            raise CheckpointError(
                f"The checkpoint {self.origin!r} has {total:,} bytes, and {str(self.home)!r} has room for "
                f"{free:,}.",
                fix="Make room, or let INITCFG_HOME name a folder on a larger disk.",
            )
        size = offset
        with self._writing():
            # Unbuffered, so that an error of the disk comes where the block is written.
            file = open(self.partial, "ab" if offset else "wb", buffering=0)  # noqa: SIM115
        with file, progress_bar(name, total, done=offset) as advance:
            for block in blocks:
                with self._writing():
                    write(file, block)
                advance(len(block))
                size += len(block)
            with self._writing():
                os.fsync(file.fileno())
        return size

    @property
    def _note(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def drop_partial(self) -> None:
        """Forget the unfinished download."""
        for path in (self._note, self.partial):
            path.unlink(missing_ok=True)

    def adopt(
        self, name: str, expected: Expected, *, etag: str | None, last_modified: str | None = None
    ) -> CacheEntry:
        """Make the finished download the file of this address, if it is what is expected."""
        with self._writing():
            digest = file_digest(self.partial)
        if not self.partial.stat().st_size:
            self.drop_partial()
            raise CheckpointError(f"The checkpoint {self.origin!r} is an empty file.")
        if not expected.fits(digest):
            self.drop_partial()
            fix = "Check the address and the digest; nothing was kept of this file."
            raise expected.error(self.origin, digest, fix)
        path = self.home / "checkpoints" / digest / name
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.partial, path)
            stat = path.stat()
        entry = CacheEntry(
            self.origin, name, digest, stat.st_size, stat.st_mtime_ns, etag, last_modified, time.time()
        )
        self._write(self._with(".json"), dataclasses.asdict(entry))
        self.drop_partial()
        return entry

    def confirm(self, entry: CacheEntry) -> CacheEntry:
        """Note that the server just said that an entry holds."""
        with contextlib.suppress(CheckpointError):
            self._write(self._with(".json"), {**dataclasses.asdict(entry), "validated": time.time()})
        return entry

    def _write(self, path: Path, fields: dict[str, Any]) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        with self._writing():
            try:
                temporary.write_text(json.dumps(fields, indent=1), encoding="utf-8")
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> CheckpointError:
        """What to say when the cache cannot be written; a full disk is left as it was."""
        if error.errno in _FULL:
            with contextlib.suppress(OSError):
                self.drop_partial()
            return CheckpointError(
                f"The checkpoint {self.origin!r} cannot be stored: there is no room left in "
                f"{str(self.home)!r}. What had been fetched of it was removed.",
                fix="Make room, or let INITCFG_HOME name a folder on a larger disk.",
            )
        return CheckpointError(
            f"The checkpoint {self.origin!r} cannot be stored in {str(self.home)!r}: "
            f"{error.strerror or error}.",
            fix="Let INITCFG_HOME name a folder that can be written.",
        )


def write(file: BinaryIO | Any, block: bytes) -> None:
    """Write all of a block; a function of its own, so that tests can fill the disk."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
