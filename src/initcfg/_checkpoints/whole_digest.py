"""The digest of a checkpoint, be it one file or several."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from initcfg._checkpoints.formats import METADATA, file_in_folder, weight_map
from initcfg._checkpoints.sources import file_digest


def whole_digest(path: Path) -> str:
    """SHA-256 of a checkpoint: of its file; of several files, of the lines that ``sha256sum`` prints of them.

    These are an index and its shards, or all that belong to a distributed checkpoint, by their names' order.
    A file is read once for as long as it is the same.
    """
    files = _files(path)
    if len(files) == 1:
        return file_digest(files[0])
    lines = (f"{file_digest(file)}  {file.name}\n" for file in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def whole_size(path: Path) -> int:
    """How many bytes these files have."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    if os.path.isdir(path):
        path = file_in_folder(path, str(path))
    if path.name == METADATA:
        return [path, *path.parent.glob("*.distcp")]
    if path.suffix != ".json":
        return [path]
    shards, _ = weight_map(path, str(path))
    return [path, *(path.parent / name for name in dict.fromkeys(shards.values()))]
