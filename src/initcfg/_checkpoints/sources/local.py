"""Files and folders that are on this machine already."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from initcfg._checkpoints.formats import UNFINISHED, weights_among
from initcfg._checkpoints.sources.digests import Expected
from initcfg._checkpoints.sources.located import Located
from initcfg.errors import CheckpointError, CheckpointNotFoundError, InitcfgError, nearest

_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".json"}


def from_path(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A path, or a ``file://`` address."""
    try:
        return _from_path(source, sha256)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InitcfgError):
            raise
        # A name that is too long, a folder that may not be looked into, a user without a home.
        raise CheckpointError(
            f"The checkpoint {source!r} cannot be found: {getattr(error, 'strerror', None) or error}.",
            fix="Give another path.",
        ) from error


def _from_path(source: str, sha256: str | None) -> Located:
    text = source[7:] if source[:7].lower() == "file://" else source
    path = Path(text).expanduser()
    if text is not source and not os.path.exists(path):
        path = Path(unquote(text.removeprefix("localhost"))).expanduser()
    if os.path.isdir(path):
        return _folder(path, source, sha256)
    if not os.path.exists(path):
        # Look-alikes of the last name only: a wrong folder has no names to offer.
        readable = os.path.isdir(path.parent) and os.access(path.parent, os.R_OK)
        names = os.listdir(path.parent) if readable else []
        raise CheckpointNotFoundError(
            f"There is no checkpoint {source!r}.",
            meant=[str(Path(source).parent / name) for name in nearest(path.name, names)],
        )
    if not os.path.isfile(path):
        raise CheckpointNotFoundError(f"The checkpoint {source!r} is neither a file nor a folder.")
    expected = Expected.of(path.name, sha256)
    repair = "change sha256=." if expected.said == "sha256=" else "rename it, or say sha256='{digest}'."
    fix = f"Get the file again; if it is meant to be as it is, {repair}"
    return Located(path, None, source, expected.checked(path, source, fix))


def _folder(path: Path, source: str, sha256: str | None) -> Located:
    refuse_digest(sha256, source)
    try:
        names = [name for name in os.listdir(path) if os.path.isfile(path / name)]
    except OSError as error:
        raise CheckpointError(f"The folder {source!r} cannot be read: {error.strerror or error}.") from error
    found = UNFINISHED if UNFINISHED in names else weights_among(names, source, source)
    if found is None:
        files = sorted(name for name in names if Path(name).suffix in _SUFFIXES)
        raise no_checkpoint(source, [os.path.join(source, name) for name in files])
    return Located(path / found if found.endswith(".bin") else path, None, source, None)


def refuse_digest(sha256: str | None, origin: str) -> None:
    """Refuse a digest where there are several files."""
    if sha256 is not None:
        raise CheckpointError(
            f"sha256= is the digest of one file, and {origin!r} is a folder.",
            fix="Leave sha256= out, or name the file.",
        )


def no_checkpoint(origin: str, files: list[str]) -> CheckpointError:
    """The error for a folder that is not a checkpoint, though some of its files may be."""
    return CheckpointNotFoundError(
        f"The folder {origin!r} holds no checkpoint: neither .metadata (a distributed checkpoint) nor "
        "model.safetensors or an index of its shards.",
        meant=files[:4],
        fix="Name the file.",
    )
