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
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from initcfg._checkpoints.formats import open_regular
from initcfg._checkpoints.sources.address import file_name, key, shown
from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.progress import progress_bar
from initcfg._checkpoints.sources.settings import home
from initcfg.errors import CheckpointError
from initcfg.values import is_finite_number

_LONGEST_NOTE = 1 << 16
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
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
        entry = _entry(_noted(self._with(".json")))
        try:
            stat = None if entry is None else self.path(entry).stat()
        except (OSError, ValueError):
            return None
        if entry is None or stat is None or not expected.fits(entry.sha256):
            return None
        # The bytes say whether it is the file, where its time does not, or the digest matters.
        if (stat.st_size, stat.st_mtime_ns) == (entry.size, entry.modified) and not expected:
            return entry
        # Another file stays, whoever wrote the record: the right one will take its place.
        return entry if _digest(self.path(entry)) == entry.sha256 else None

    def by_digest(self, expected: Expected) -> Path | None:
        """A file with a digest that is known in full, from whatever address it came."""
        if expected.start is None or len(expected.start) != 64:
            return None
        folder = self.home / "checkpoints" / expected.start
        with contextlib.suppress(OSError):
            return next((path for path in sorted(folder.iterdir()) if _digest(path) == expected.start), None)
        return None

    def path(self, entry: CacheEntry) -> Path:
        """Where the file of an entry is."""
        return self.home / "checkpoints" / entry.sha256 / entry.name

    @contextlib.contextmanager
    def locked(self, known: CacheEntry | None) -> Iterator[None]:
        """While this lasts, no other process fetches the address.

        Who may only read the cache has no lock: what is ``known`` is used while it is the server's version.
        """
        with self._writing():
            self._base.parent.mkdir(parents=True, exist_ok=True)
        held: contextlib.AbstractContextManager[Any]
        try:
            held = FileLock(self._with(".lock")).acquire()
        except (OSError, NotImplementedError) as error:
            without = _NO_LOCKS | _READ_ONLY if known else _NO_LOCKS
            if isinstance(error, OSError) and error.errno not in without:
                raise self._cannot_write(error) from error
            # No locks on this file system: then nothing is shared, and nothing is resumed.
            self.partial = self._with(f".{os.getpid()}-{time.monotonic_ns()}.partial")
            held = contextlib.ExitStack()
            held.callback(self.drop_partial)
        with held:
            yield

    def partial_version(self) -> dict[str, Any]:
        """Which version the unfinished download is of; empty if there is none."""
        noted = _noted(self._note)
        if noted is None or not (os.path.isfile(self.partial) and self.partial.stat().st_size):
            return {}
        version = {name: noted.get(name) for name in ("etag", "last_modified", "total")}
        total = version["total"]
        sound = _is_header(version["etag"]) and _is_header(version["last_modified"])
        return version if sound and (total is None or _is_count(total)) else {}

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


def _noted(path: Path) -> dict[str, Any] | None:
    """What a note says; None where there is none, or none that is one: anybody may have written it."""
    try:
        handle = open_regular(path)
        with open(handle, "rb") as file:
            noted = json.loads(file.read(_LONGEST_NOTE))
    except (OSError, ValueError, RecursionError):
        return None
    return noted if isinstance(noted, dict) else None


def _entry(noted: dict[str, Any] | None) -> CacheEntry | None:
    """The record that a note is, if each of its fields can be what it should."""
    if noted is None or set(noted) != {field.name for field in dataclasses.fields(CacheEntry)}:
        return None
    name, sha256, validated = noted["name"], noted["sha256"], noted["validated"]
    sound = (
        isinstance(noted["origin"], str)
        and isinstance(name, str)
        and name == file_name(f"file:///{name}")
        and isinstance(sha256, str)
        and re.fullmatch(r"[0-9a-f]{64}", sha256) is not None
        and _is_count(noted["size"])
        and _is_count(noted["modified"])
        and _is_header(noted["etag"])
        and _is_header(noted["last_modified"])
        and is_finite_number(validated)
    )
    return CacheEntry(**noted) if sound else None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_header(value: Any) -> bool:
    """Whether something is nothing, or what a header of a response may be."""
    return value is None or (isinstance(value, str) and value.isascii() and value.isprintable())


def _digest(path: Path) -> str | None:
    """The digest of a file; None of what cannot be read, or is no file."""
    try:
        return file_digest(path)
    except OSError:
        return None


def write(file: BinaryIO | Any, block: bytes) -> None:
    """Write all of a block; a function of its own, so that tests can fill the disk."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
