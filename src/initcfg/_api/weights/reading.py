"""Reading tensors of a checkpoint piece by piece: of a large one, never more than a few megabytes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from initcfg._checkpoints import OpenedCheckpoint
from initcfg.errors import CheckpointError

# Elements at a time.
_PIECE = 1 << 20


def pieces_of(reader: OpenedCheckpoint, key: str) -> Iterator[torch.Tensor]:
    """A tensor in pieces, in order; nothing, if it has no element.

    Raises:
        CheckpointError: It cannot be read, or is on the meta device.
    """
    # Loaded when numbers are read: whoever plans has no use for it.
    from initcfg._apply.streaming import pieces

    stored = reader.tensors[key]
    shape = stored.info.shape
    if reader.problem(key) is not None or not stored.in_pieces:
        yield from (each for each in reader.read(key).reshape(-1).split(_PIECE) if each.numel())
        return
    for offsets, sizes in pieces(shape, _PIECE):
        block = reader.read_block(key, offsets, sizes)
        if block.is_meta:
            raise CheckpointError(f"{key!r} is on the meta device: it has no numbers.")
        yield block.reshape(-1)


def why_unreadable(error: BaseException) -> str:
    """Why a tensor cannot be read, without what the message says of the file."""
    text = str(error).partition("\n")[0]
    kind = text.partition("that is ")[2].partition(", which no")[0]
    return f"it is {kind}" if kind else text


def pairs_of(
    a: OpenedCheckpoint, key: str, b: OpenedCheckpoint, other: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Two tensors of one shape in pieces that belong together."""
    return zip(pieces_of(a, key), pieces_of(b, other), strict=True)
