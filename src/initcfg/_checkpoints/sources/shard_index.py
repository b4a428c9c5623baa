"""A checkpoint in several files, fetched by its index."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path

from initcfg._checkpoints.formats import weight_map
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.settings import home
from initcfg.errors import CheckpointError

# Of a variant, too: "model.safetensors.index.fp16.json".
_INDEX = re.compile(r"\.index(\.[\w-]+)?\.json$")


def is_index(name: str) -> bool:
    """Whether a file name is that of an index of shards."""
    return _INDEX.search(name) is not None


def shard_names(index: Path, origin: str) -> list[str]:
    """The files that an index names, each once; one that names something elsewhere is refused."""
    names = list(dict.fromkeys(weight_map(index, origin)[0].values()))
    for name in names:
        if Path(name).name != name or set(name) & set('\\:?#%"'):
            raise CheckpointError(
                f"The index {origin!r} names {name!r}, which is not a file beside it.",
                fix="Do not use this checkpoint: its index is damaged, or made to do harm.",
            )
    return names


def gather(files: dict[str, Located], origin: str) -> Located:
    """A folder in the cache that holds files from elsewhere under their names."""
    paths = {name: located.path for name, located in files.items() if located.path is not None}
    # The cache knows files by their content: another content is another folder.
    digest = hashlib.sha256(repr(sorted((name, str(path)) for name, path in paths.items())).encode())
    folder = home() / "folders" / digest.hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            target = folder / name
            with contextlib.suppress(OSError):
                if target.samefile(path):
                    continue
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.unlink(missing_ok=True)
            try:
                os.link(path, temporary)
            except OSError:
                shutil.copyfile(path, temporary)
            os.replace(temporary, target)
    except OSError as error:
        raise CheckpointError(
            f"The files of {origin!r} cannot be put into {str(folder)!r}: {error.strerror or error}.",
            fix="Make room, or let INITCFG_HOME name a folder that can be written.",
        ) from error
    return Located(folder, None, origin, None)
