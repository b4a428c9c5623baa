"""From what a rule calls a checkpoint to an opened one: where it is, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from initcfg._checkpoints.formats import Reader, TensorInfo, open_mapping, open_path
from initcfg._checkpoints.sources import locate
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

    def read_block(self, key: str, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
        """A block of it."""
        return self._reader.read_block(key, offsets, sizes)

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
    """Open a checkpoint: a path, an address, or a state_dict.

    Args:
        source: What to open.
        sha256: Digest that the file must have.
        offline: Whether nothing may be fetched.
        part: Which of several states in the file.
        name: How messages call it; the source itself if None.

    Raises:
        CheckpointError: It cannot be had or opened, or is no checkpoint.
    """
    if not isinstance(source, (str, Mapping)):
        raise CheckpointError(
            f"{name or 'The function'} gave a {type(source).__name__}, and no state_dict.",
            fix="Return a dict from names to tensors, or the path of a checkpoint.",
        )
    located = locate(source, sha256=sha256, offline=offline)
    if located.path is not None:
        reader = open_path(located.path, name=name or located.origin, part=part)
    else:
        assert located.memory is not None
        reader = open_mapping(located.memory, name=name or located.origin, part=part)
    return Opened(reader, located.sha256, located.prefix)
