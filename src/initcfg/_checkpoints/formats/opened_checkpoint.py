"""A checkpoint that was opened: what planning and applying see, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from initcfg._checkpoints.formats.stored import Stored, TensorInfo, Unreadable
from initcfg._checkpoints.formats.untrusted import json_beside
from initcfg._stream.writing import narrowed
from initcfg.errors import CheckpointError


@dataclass
class OpenedCheckpoint:
    """A checkpoint that was opened: names, shapes and types at once, numbers one tensor at a time.

    Attributes:
        name: How messages call it: the source as it was written.
        format: What kind of file it is, for a person.
        metadata: What a safetensors file says of itself.
        files: What to close in the end.
        tensors: Its tensors, none of which was read; they are read whole, or in parts.
        wrapping: What was taken off on the way to the tensors; what ends in a dot was before every key.
        parts: Other sets of weights in it: what ``part`` can be.
        beside: What else is in it, and what it is, in a few words.
        sha256: The digest of its file, where it is known.
        unnamed: Its tensors have no names, only an order: ``"shadow_params.0"``.
        merged: What was added to tensors from another file, by key, in a few words.
        prefix: The tensors that its source means, if it means some of them: those whose keys begin so.
        path: The file or folder that it is; None if it is in memory.
        beside_adapter: Of a merged adapter: the file beside it that was read, and the base that this names.
        modules: What the state_dict says of the modules that it was taken from, by their names in it:
            ``{"bn": {"version": 2}}``.
        state: What its files were when they were opened, where its source says it.
    """

    name: str
    format: str
    metadata: Mapping[str, str]
    files: tuple[Any, ...]
    tensors: dict[str, Stored]
    wrapping: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    prefix: str | None = None
    unnamed: bool = False
    merged: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    beside_adapter: tuple[Path, ...] = ()
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: Any = None

    def keys(self) -> Iterator[str]:
        """The names of its tensors, in its order."""
        return iter(self.tensors)

    def info(self, key: str) -> TensorInfo:
        """Shape and type of a tensor; KeyError if there is none."""
        return self.tensors[key].info

    def problem(self, key: str) -> CheckpointError | None:
        """Why a tensor cannot be read, if that is known: it is sparse, quantized, or none of numbers."""
        stored = self.tensors[key]
        return stored.error if isinstance(stored, Unreadable) else None

    def read(self, key: str) -> torch.Tensor:
        """The tensor, in memory of its own, unless the checkpoint is in memory itself."""
        return self.tensors[key].read()

    def read_block(self, key: str, offsets: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
        """The block of a tensor that begins at ``offsets`` and has ``sizes``; no more than that is read."""
        return self.tensors[key].viewed(lambda whole: narrowed(whole, offsets, sizes)).read()

    def scale_block(self) -> tuple[int, int] | None:
        """How many rows and columns share a scale, where the ``config.json`` beside it says so."""
        said = json_beside(self.path, self.name, "config.json").get("quantization_config")
        block = said.get("weight_block_size") if isinstance(said, dict) else None
        if not isinstance(block, list) or [type(each) for each in block] != [int, int] or min(block) < 1:
            return None
        return block[0], block[1]

    def close(self) -> None:
        """Let go of the files. Tensors that were read stay."""
        for file in self.files:
            file.close()

    def __enter__(self) -> OpenedCheckpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
