"""Opening a checkpoint: whatever it is by its content, never by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initcfg._checkpoints.formats.distributed_folder import METADATA, open_distributed
from initcfg._checkpoints.formats.numpy_arrays import MAGIC, open_array
from initcfg._checkpoints.formats.opened_checkpoint import OpenedCheckpoint
from initcfg._checkpoints.formats.safetensors_file import looks_safe, open_safe
from initcfg._checkpoints.formats.sharded_folder import file_in_folder, open_index
from initcfg._checkpoints.formats.spans import Span, cannot
from initcfg._checkpoints.formats.stored import Contents
from initcfg._checkpoints.formats.torch_file import open_torch
from initcfg._checkpoints.formats.unwrapping import unwrapped
from initcfg.errors import CheckpointError, CheckpointNotFoundError, nearest

_HEAD = 512
_PAGE = (b"<!DOCTYPE", b"<!doctype", b"<html")
_OF_CONFIGS = (".yaml", ".yml", ".toml", ".py")
_FROM_KERAS = (
    "Save the model's state_dict: torch.save(model.state_dict(), 'weights.pth'); Keras on torch has one, too."
)
# Files that people take for checkpoints, by how they begin.
_OTHERS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself", "Fetch it: git lfs pull."),
    (_PAGE, "is a web page", "Download the file itself, not the page about it."),
    (b"GGUF", "is a GGUF file", "Take the safetensors file that it was made from."),
    (b"\x89HDF", "is an HDF5 file, as Keras writes them", _FROM_KERAS),
    (b"\x1f\x8b", "is compressed by gzip", "Unpack it first."),
    (b"(\xb5/\xfd", "is compressed by zstd", "Unpack it first."),
    (b"PK\x05\x06", "is an empty zip archive", "Fetch or save the file again."),
)


def open_path(path: Path | str, *, name: str | None = None, part: str | None = None) -> OpenedCheckpoint:
    """Open a file or a folder. No number is read, and no code that it holds is run.

    Args:
        path: A file of safetensors or ``torch.save``, an index of shards, or a folder: of Hugging Face, or
            of ``torch.distributed.checkpoint``.
        name: How messages call it; by default, the path.
        part: Which set of weights to take where there are several: ``"state_dict_ema"``. By default the
            ordinary weights, and moving averages where there are no others.
    """
    path = Path(path)
    name = str(path) if name is None else name
    return unwrapped(contents_of(path, name), name, part)


def open_mapping(state: Mapping[str, Any], *, name: str, part: str | None = None) -> OpenedCheckpoint:
    """A state_dict, or a checkpoint with one in it, that is in memory already."""
    return unwrapped(Contents(state, "in memory"), name, part)


def contents_of(path: Path, name: str) -> Contents:
    """What a file or folder holds."""
    try:
        is_folder = os.path.isdir(path)
    except (OSError, ValueError) as error:
        raise cannot("opened", name, error) from error
    if is_folder:
        found = file_in_folder(path, name)
        return open_distributed(path, name) if found.name == METADATA else contents_of(found, name)
    span = _opened(path, name)
    head = span.read(0, min(_HEAD, span.size))
    others = [(what, fix) for magic, what, fix in _OTHERS if head.startswith(magic)]
    if others:
        what, fix = others[0]
    elif looks_safe(head):
        return open_safe(span)
    elif head.startswith(MAGIC):
        return open_array(span)
    elif head.startswith(b"PK\x03\x04") and path.suffix == ".keras":
        # An archive with HDF5 within; a file of torch.save is one, too.
        what, fix = "is a file of Keras", _FROM_KERAS
    elif head.startswith((b"PK\x03\x04", b"\x80")):
        return open_torch(span)
    elif head.lstrip().startswith(b"{") and b"\0" not in head:
        span.close()
        return open_index(path, name)
    elif head[257:262] == b"ustar":
        what = "is a tar archive, which torch.save wrote before version 0.1.10"
        fix = "Unpack it if it holds a checkpoint, or save it again with a newer torch."
    elif path.suffix == ".safetensors":
        return open_safe(span)
    else:
        what = "is neither safetensors nor a file of torch.save" if head else "is empty"
        fix = "Fetch or save it again."
        if path.suffix in _OF_CONFIGS:
            what, fix = (
                "is a config, by its name, and no checkpoint",
                "initcfg plan shows what a config does.",
            )
    span.close()
    raise CheckpointError(f"The checkpoint {name!r} {what}.", where=str(path), fix=fix)


def _opened(path: Path, name: str) -> Span:
    try:
        return Span(path, name)
    except CheckpointError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        folder = path.parent
        names = [each.name for each in folder.iterdir()] if os.path.isdir(folder) else []
        raise CheckpointNotFoundError(
            f"There is no checkpoint {name!r}.",
            meant=[str(folder / each) for each in nearest(path.name, names)],
        ) from error.__cause__
