"""What files say of their own bytes: a streamed checkpoint holds the SHA-256 of each file's numbers."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

DIGEST = "initcfg.sha256"
"""In the metadata of a safetensors file: the SHA-256 of the bytes after its header, as 64 digits."""

_BLOCK = 1 << 22


def changed_files(path: Path) -> tuple[str, ...]:
    """The names of the files of a checkpoint whose numbers are not those that were written.

    Args:
        path: A safetensors file, an index of such files, or their folder, opened before. A file that says
            nothing of its bytes is passed over.
    """
    folder = path if os.path.isdir(path) else path.parent
    if path.suffix == ".safetensors":
        return () if _is_as_written(path) else (path.name,)
    return tuple(each.name for each in sorted(folder.glob("*.safetensors")) if not _is_as_written(each))


def _is_as_written(path: Path) -> bool:
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        said = json.loads(file.read(length)).get("__metadata__", {}).get(DIGEST)
        if said is None:
            return True
        found = hashlib.sha256()
        while data := file.read(_BLOCK):
            found.update(data)
        return found.hexdigest() == said
