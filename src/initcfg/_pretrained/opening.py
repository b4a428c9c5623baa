"""From what a rule calls a checkpoint to an opened one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from initcfg._checkpoints.opening import open_mapping, open_path
from initcfg._checkpoints.reader import Reader, TensorInfo
from initcfg._pretrained.initializer import PretrainedInit
from initcfg._sources import locate
from initcfg.errors import CheckpointError


class Opened:
    """An opened checkpoint, and what is known of where it comes from.

    Attributes:
        sha256: The digest of its file, where it is known.
        prefix: The part of it that the source means, if it means a part.
    """

    def __init__(self, reader: Reader, sha256: str | None = None, prefix: str | None = None) -> None:
        self._reader = reader
        self.name = reader.name
        self.wrapping = reader.wrapping
        self.sha256 = sha256
        self.prefix = prefix

    def keys(self) -> Iterator[str]:
        """See :class:`Reader`, as the others."""
        return self._reader.keys()

    def info(self, key: str) -> TensorInfo:
        """Shape and type of a tensor."""
        return self._reader.info(key)

    def read(self, key: str) -> torch.Tensor:
        """The tensor."""
        return self._reader.read(key)

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()


def open_source(
    source: Any,
    *,
    sha256: str | None = None,
    offline: bool | None = None,
    part: str | None = None,
    name: str | None = None,
) -> Opened:
    """Open a checkpoint: a path, a URL, or a state_dict.

    Args:
        source: What to open.
        sha256: Digest that the file must have.
        offline: Whether nothing may be fetched.
        part: Which of several states in the file.
        name: How messages call it; the source itself if None.

    Raises:
        CheckpointError: It cannot be opened, or is no checkpoint.
    """
    if not isinstance(source, (str, Mapping)):
        raise CheckpointError(
            f"{name or 'The function'} gave a {type(source).__name__}, and no state_dict.",
            mend="Return a dict from names to tensors, or the path of a checkpoint.",
        )
    found = locate(source, sha256=sha256, offline=offline)
    if found.path is None:
        reader = open_mapping(found.memory or {}, name=name or "a state_dict", part=part)
    else:
        reader = open_path(found.path, name=name or str(source), part=part)
    return Opened(reader, found.sha256, found.prefix)


def open_pretrained(initializer: PretrainedInit) -> Opened:
    """The checkpoint of a Pretrained rule."""
    return open_source(
        initializer.state(),
        sha256=initializer.sha256,
        offline=initializer.offline,
        part=initializer.part,
        name=initializer.label,
    )
