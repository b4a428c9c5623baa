"""The digest of a checkpoint, be it one file or several; now, or later if the files are still the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from initcfg._checkpoints.formats import METADATA, file_in_folder, weight_map
from initcfg._checkpoints.sources import file_digest, is_settled


def whole_digest(path: Path) -> str:
    """SHA-256 of a checkpoint: of its file; of several files, of the lines that ``sha256sum`` prints of them.

    These are an index and its shards, or all that belong to a distributed checkpoint, by their names' order.
    A file is read once for as long as it is the same.
    """
    return _digest_of(files_of(path), exactly=False)


class _State(NamedTuple):
    """What tells one state of a file from the next, whatever happened to it."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class NotedFiles:
    """The files of a checkpoint as they are now, before they are read.

    Attributes:
        size: How many bytes they have.
        settled: Whether every write from now on will show; else their digest cannot wait.

    Raises:
        OSError, CheckpointError: They cannot be looked at.
    """

    def __init__(self, path: Path) -> None:
        found = {file: file.stat() for file in files_of(path)}
        self.size = sum(each.st_size for each in found.values())
        self.settled = all(map(is_settled, found.values()))
        self._states = {file: _state(each) for file, each in found.items()}

    def digest(self) -> str | None:
        """As :func:`whole_digest`; None if the files are not what they were.

        Raises:
            OSError: They cannot be read any more.
        """
        if not self._are_the_same():
            return None
        digest = _digest_of(list(self._states), exactly=True)
        return digest if self._are_the_same() else None

    def _are_the_same(self) -> bool:
        return all(_state(file.stat()) == state for file, state in self._states.items())


def _state(found: os.stat_result) -> _State:
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _digest_of(files: list[Path], *, exactly: bool) -> str:
    if len(files) == 1:
        return file_digest(files[0], exactly=exactly)
    lines = (f"{file_digest(file, exactly=exactly)}  {file.name}\n" for file in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_of(path: Path) -> list[Path]:
    """The files that a checkpoint is: one, or an index with its shards, or all of a distributed one."""
    if os.path.isdir(path):
        path = file_in_folder(path, str(path))
    if path.name == METADATA:
        return [path, *path.parent.glob("*.distcp")]
    if path.suffix != ".json":
        return [path]
    shards, _ = weight_map(path, str(path))
    return [path, *(path.parent / name for name in dict.fromkeys(shards.values()))]
