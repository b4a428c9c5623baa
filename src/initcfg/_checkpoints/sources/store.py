"""The cache on disk.

::

    <home>/checkpoints/<sha256>/<name>    the files; a folder for each content
    <home>/addresses/<key>.json           what an address led to: ETag, digest, size, name
    <home>/addresses/<key>.partial        a download that has not ended
    <home>/addresses/<key>.partial.json   which version of the file it is a part of
    <home>/addresses/<key>.lock           held while one process fetches

A file appears under ``checkpoints`` by a rename, after all of it is on the disk and its digest is known:
a process that is killed, or a disk that is full, leaves no part of a file there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.locks import lock
from initcfg._checkpoints.sources.settings import home
from initcfg.errors import CheckpointError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


@dataclass(frozen=True)
class Record:
    """What an address led to.

    Attributes:
        origin: The address, for people who look into the cache.
        name: The name of the file.
        sha256: Its digest.
        size: Its size in bytes.
        modified: Its time of change when it was stored: one that differs means that it was written to.
        etag: The version, as the server calls it.
        last_modified: Its date, as the server says it.
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


class Store:
    """The cache, seen from one address.

    Args:
        key: The name of the address in the cache.
        origin: The address, for messages.
    """

    def __init__(self, key: str, origin: str) -> None:
        self.home = home()
        self.origin = origin
        self._base = self.home / "addresses" / key
        self.partial = self._with(".partial")

    def _with(self, suffix: str) -> Path:
        return self._base.with_name(self._base.name + suffix)

    # -- what is there ---------------------------------------------------------------------------

    def record(self) -> Record | None:
        """What the address led to; None if it is not known, or the file is gone or damaged."""
        try:
            fields = json.loads(self._with(".json").read_text(encoding="utf-8"))
            record = Record(**fields)
            stat = self.path(record).stat()
        except (OSError, ValueError, TypeError):
            return None
        if stat.st_size == record.size and stat.st_mtime_ns == record.modified:
            return record
        # Someone wrote to it, or copied the cache: its bytes tell which.
        if stat.st_size == record.size and file_digest(self.path(record)) == record.sha256:
            return record
        self._discard(record)
        return None

    def usable(self, expected: Expected) -> Record | None:
        """The record, if its file is what is expected, which its bytes must say."""
        record = self.record()
        if record is None or not expected:
            return record
        if not expected.fits(record.sha256):
            return None
        if file_digest(self.path(record)) == record.sha256:
            return record
        self._discard(record)
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

    def path(self, record: Record) -> Path:
        """Where the file of a record is."""
        return self.home / "checkpoints" / record.sha256 / record.name

    def _discard(self, record: Record) -> None:
        with contextlib.suppress(OSError):
            self.path(record).unlink()

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While this lasts, no other process fetches the address.

        Raises:
            CheckpointError: The cache cannot be written.
        """
        try:
            self._base.parent.mkdir(parents=True, exist_ok=True)
            held = lock(self._with(".lock"))
            exclusive = held.__enter__()
        except OSError as error:
            raise self.cannot_write(error) from error
        try:
            if not exclusive:
                # No locks on this file system: then nothing is shared, and nothing is resumed.
                self.partial = self._with(f".{os.getpid()}-{time.monotonic_ns()}.partial")
            yield
        finally:
            held.__exit__(None, None, None)
            if not exclusive:
                self.drop_partial()

    def part(self) -> dict[str, Any]:
        """Which version the unfinished download is of; empty if there is none."""
        try:
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            return noted if isinstance(noted, dict) and self.partial.is_file() else {}
        except (OSError, ValueError):
            return {}

    def begin_part(self, **noted: Any) -> None:
        """Begin a download anew, of the version that is noted.

        Raises:
            CheckpointError: The cache cannot be written.
        """
        self.drop_partial()
        self._write(self._note, noted)

    @property
    def _note(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def drop_partial(self) -> None:
        """Forget the unfinished download."""
        for path in (self._note, self.partial):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def adopt(self, name: str, sha256: str, *, etag: str | None, last_modified: str | None) -> Record:
        """Make the finished download, all of which is on the disk, the file of this address.

        Raises:
            CheckpointError: The cache cannot be written.
        """
        folder = self.home / "checkpoints" / sha256
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.replace(self.partial, folder / name)
            _sync_folder(folder)
            stat = (folder / name).stat()
        except OSError as error:
            raise self.cannot_write(error) from error
        record = Record(
            self.origin, name, sha256, stat.st_size, stat.st_mtime_ns, etag, last_modified, time.time()
        )
        self._write(self._with(".json"), record)
        self.drop_partial()
        return record

    def validate(self, record: Record) -> None:
        """Note that the server just said that a record holds."""
        with contextlib.suppress(CheckpointError):
            self._write(self._with(".json"), dataclasses.replace(record, validated=time.time()))

    def _write(self, path: Path, content: Record | dict[str, Any]) -> None:
        fields = dataclasses.asdict(content) if isinstance(content, Record) else content
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(fields, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise self.cannot_write(error) from error

    def cannot_write(self, error: OSError) -> CheckpointError:
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


def _sync_folder(folder: Path) -> None:
    # So that the name too outlasts a power failure; not every system can.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
