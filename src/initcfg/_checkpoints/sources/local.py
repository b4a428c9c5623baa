"""Files and folders that are on this machine already."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.located import Located
from initcfg.errors import CheckpointError, CheckpointNotFoundError, nearest

WHOLE_FOLDERS = (
    ".metadata",
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
)
_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".json"}


def locate(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A path, or a ``file://`` address.

    Raises:
        CheckpointNotFoundError: There is nothing.
        CheckpointError: It is no checkpoint, or its digest is another.
    """
    text = source[7:] if source[:7].lower() == "file://" else source
    path = Path(text).expanduser()
    if text is not source and not path.exists():
        path = Path(unquote(text.removeprefix("localhost"))).expanduser()
    if path.is_dir():
        return _folder(path, source, sha256)
    if not path.exists():
        raise _missing(path, source)
    if not path.is_file():
        raise CheckpointError(f"The checkpoint {source!r} is neither a file nor a folder.")
    expected = Expected.of(path.name, sha256)
    if not expected:
        return Located(path, None, source, None)
    return Located(path, None, source, _checked(path, source, expected))


def _checked(path: Path, source: str, expected: Expected) -> str:
    try:
        digest = file_digest(path)
    except OSError as error:
        raise CheckpointError(f"The checkpoint {source!r} cannot be read: {error.strerror}.") from error
    if not expected.fits(digest):
        fix = "Get the file again; if it is meant to be as it is, "
        fix += "change sha256=." if expected.said == "sha256=" else f"rename it, or say sha256={digest!r}."
        raise expected.error(source, digest, fix)
    return digest


def _folder(path: Path, source: str, sha256: str | None) -> Located:
    if sha256 is not None:
        raise CheckpointError(
            f"sha256= is the digest of one file, and {source!r} is a folder.",
            fix="Leave sha256= out, or name the file.",
        )
    if any((path / name).is_file() for name in WHOLE_FOLDERS):
        return Located(path, None, source, None)
    if (path / "pytorch_model.bin").is_file():
        return Located(path / "pytorch_model.bin", None, source, None)
    files = sorted(name for name in os.listdir(path) if Path(name).suffix in _SUFFIXES)
    raise CheckpointError(
        f"The folder {source!r} holds no checkpoint that is a folder: neither .metadata (a distributed "
        "checkpoint) nor model.safetensors or an index of its shards.",
        meant=[os.path.join(source, name) for name in files[:4]],
        fix="Name the file.",
    )


def _missing(path: Path, source: str) -> CheckpointNotFoundError:
    from initcfg._checkpoints.sources.schemes import known_schemes

    # Why look-alikes of the last name only: a wrong folder has no names to offer.
    names = os.listdir(path.parent) if path.parent.is_dir() and os.access(path.parent, os.R_OK) else []
    meant = [str(Path(source).parent / name) for name in nearest(path.name, names)]
    scheme, colon, rest = source.partition(":")
    if colon and "/" not in scheme and scheme.lower() in known_schemes():
        meant.insert(0, f"{scheme}://{rest.lstrip('/')}")
    return CheckpointNotFoundError(f"There is no checkpoint {source!r}.", meant=meant)
