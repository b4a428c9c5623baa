"""What planning and applying need of an opened checkpoint, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch


class TensorInfo(NamedTuple):
    """What is known of a tensor without reading it.

    Attributes:
        shape: Its shape.
        dtype: Its type as torch names it: ``"float32"``.
    """

    shape: tuple[int, ...]
    dtype: str


class Reader(Protocol):
    """An opened checkpoint: names, shapes and types at once, numbers one tensor at a time.

    Attributes:
        name: How messages call it: the source as it was written.
        wrapping: What was taken off on the way to the tensors, for the account: ``("state_dict",)`` of a
            file that holds one beside other things, ``("ema",)``, ...
    """

    name: str
    wrapping: tuple[str, ...]

    def keys(self) -> Iterator[str]:
        """The names of its tensors, in its order."""
        ...

    def info(self, key: str) -> TensorInfo:
        """Shape and type of a tensor; KeyError if there is none."""
        ...

    def read(self, key: str) -> torch.Tensor:
        """The tensor, in this machine's memory; where it can be, mapped from the file and not copied.

        Raises:
            CheckpointError: The file is damaged there.
        """
        ...

    def read_block(self, key: str, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
        """The block of a tensor that begins at ``offsets`` and has ``sizes``; little else is read."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...
