"""What the files of a checkpoint are at one time, so that a plan knows whether they are still the same."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from initcfg._checkpoints.sources import file_digest, is_settled
from initcfg._checkpoints.whole_digest import files_of
from initcfg.errors import CheckpointError

# A larger file is not written anew within one tick of a file system's clock.
_HASHED = 1 << 24


@dataclass(frozen=True)
class _FileState:
    """One file as it is; the digest where its next write could have the same time."""

    path: str
    inode: int
    size: int
    modified: int
    settled: bool
    digest: str | None = None

    @classmethod
    def of(cls, path: str | Path) -> _FileState:
        found = os.stat(path)
        times = found.st_ino, found.st_size, found.st_mtime_ns
        return cls(os.path.abspath(path), *times, is_settled(found))

    def hashed(self) -> _FileState:
        if self.settled or self.size > _HASHED:
            return self
        return replace(self, digest=file_digest(Path(self.path), exactly=True))

    def is_now(self, now: _FileState) -> bool:
        """Whether a later state is this one, wherever the file lies by then."""
        if (self.inode, self.size, self.modified) != (now.inode, now.size, now.modified):
            return False
        return self.digest is None or self.digest == file_digest(Path(now.path), exactly=True)


@dataclass(frozen=True)
class SourceState:
    """The files of a checkpoint, and of all that it is merged with; none if it is in memory.

    Of a checkpoint that was fetched these are the files that were fetched: whoever fetches it again asks its
    server whether it is still the same (ETag, or size and time), and what is new becomes another file.
    """

    files: tuple[_FileState, ...] = ()

    @classmethod
    def of(cls, path: Path | None) -> SourceState | None:
        """Of a file or folder as it is now; None if it cannot be looked at, as opening it will say."""
        try:
            return cls() if path is None else cls(tuple(map(_FileState.of, files_of(path))))
        except (OSError, ValueError, CheckpointError):
            return None

    def also(self, paths: Iterable[Path], other: SourceState | None = None) -> SourceState:
        """With these files, and those of another, besides."""
        more = tuple(_FileState.of(path) for path in paths)
        return SourceState((*self.files, *more, *(() if other is None else other.files)))

    def hashed(self) -> SourceState:
        """With the digests of small files that have just been written."""
        return SourceState(tuple(each.hashed() for each in self.files))

    def changed(self, now: SourceState | None = None) -> str | None:
        """The first file that is not what it was, by then or by now; None if all are.

        Raises:
            OSError: One cannot be looked at any more.
        """
        later = tuple(_FileState.of(each.path) for each in self.files) if now is None else now.files
        if len(self.files) != len(later):
            return next((each.path for each in (*later, *self.files)), None)
        pairs = zip(self.files, later, strict=True)
        return next((other.path for each, other in pairs if not each.is_now(other)), None)
