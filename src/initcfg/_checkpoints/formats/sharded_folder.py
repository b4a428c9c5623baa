"""Checkpoints of several files: an index and its shards, and the folders that hold them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from initcfg._checkpoints.formats.distributed_folder import METADATA
from initcfg._checkpoints.formats.safetensors_file import looks_safe, open_safe
from initcfg._checkpoints.formats.spans import Span, cannot
from initcfg._checkpoints.formats.stored import Contents, Stored, TensorInfo, View
from initcfg._checkpoints.formats.tables import as_stored
from initcfg._checkpoints.formats.torch_file import open_torch
from initcfg._checkpoints.formats.untrusted import leads_out, parsed
from initcfg.errors import CheckpointError, CheckpointNotFoundError, plural

UNFINISHED = ".initcfg-unfinished.json"
"""What lies in a folder for as long as a checkpoint is being written there."""

_LONGEST_INDEX = 1 << 28
FOLDER_FILES = (
    METADATA,
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""What makes a folder a checkpoint, of DCP or of Hugging Face: the safer format first."""

# And what others do: the one file with such an ending. Variants have their name in it; an index before the
# last dot: "model.safetensors.index.fp16.json".
_NUMBERED = re.compile(r"-\d{5}-of-(\d{5})\.")
_VARIANT_INDEX = r"\.index(\.[\w-]+)?\.json$"
_ENDINGS = {
    ".safetensors.index.json": r"\.safetensors" + _VARIANT_INDEX,
    ".safetensors": r"\.safetensors$",
    ".bin.index.json": r"\.bin" + _VARIANT_INDEX,
    ".bin": r"\.bin$",
}
# What training code puts beside its weights.
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state|random_states)[\w-]*\.bin")


def file_in_folder(path: Path, name: str) -> Path:
    """The file that the checkpoint in a folder is: its weights, their index, or the metadata of DCP."""
    if os.path.isfile(path / UNFINISHED):
        raise CheckpointError(
            f"The checkpoint in {name!r} is not whole: its writing still goes on, or was interrupted.",
            where=str(path),
            fix="Run the command that writes it again: it goes on where it stopped.",
        )
    try:
        names = [each.name for each in path.iterdir() if os.path.isfile(each)]
    except OSError as error:
        raise cannot("opened", name, error) from error
    found = weights_among(names, name, str(path))
    if found is None:
        raise CheckpointNotFoundError(
            f"The folder {name!r} holds no checkpoint.",
            where=str(path),
            fix="Give the path of a file, or a folder with model.safetensors, pytorch_model.bin or an index.",
        )
    return path / found


def weights_among(names: Collection[str], name: str, where: str) -> str | None:
    """Which of the files in a folder its weights are in, or the index of them; None if in none of them.

    Args:
        names: The files.
        name: How messages call the folder.
        where: The folder itself, to which the names are added.
    """
    usual = next((each for each in FOLDER_FILES if each in names), None)
    if usual is not None:
        return usual
    for ending, pattern in _ENDINGS.items():
        found = sorted(each for each in names if re.search(pattern, each) and not _NO_WEIGHTS.fullmatch(each))
        if len(found) == 1 and (numbers := _NUMBERED.search(found[0])) and int(numbers[1]) > 1:
            raise CheckpointNotFoundError(
                f"The folder {name!r} holds {found[0]!r}, but neither an index nor the other shards.",
                where=where,
                fix="Fetch the rest, or give the path of that file to take only what is in it.",
            )
        if len(found) == 1:
            return found[0]
        if found:
            fix = "Give the path of one."
            if numbers := _NUMBERED.search(found[0]):
                index = f"{found[0][: numbers.start()]}{ending}.index.json"
                fix = f"Fetch the index, {index!r}, into the folder: each file is a part, of which there are "
                fix += f"{int(numbers[1])}."
            raise CheckpointError(
                f"The folder {name!r} holds {len(found)} files that end in {ending!r}, and no index of them.",
                where=where,
                meant=[f"{where}/{each}" for each in found[:4]],
                fix=fix,
            )
    return None


def weight_map(path: Path, name: str) -> tuple[dict[str, str], Mapping[str, Any]]:
    """Which file each tensor is in, by an index; and what the index says of itself."""
    span = Span(path, name)
    with contextlib.closing(span):
        if span.size > _LONGEST_INDEX:
            raise span.damaged(f"its index has {span.size:,} bytes")
        index = parsed(span, span.read(0, span.size), "the index")
    files, metadata = index.get("weight_map"), index.get("metadata")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise span.refused(
            "is a JSON file without a weight_map, which an index of shards has",
            "Give the index, or the file with the weights.",
        )
    outside = sorted(file for file in files.values() if leads_out(file))
    if outside:
        raise span.damaged(f"the index names {outside[0]!r}, which is not in its folder")
    return files, metadata if isinstance(metadata, dict) else {}


def open_index(path: Path, name: str) -> Contents:
    """What the shards of an index hold. A shard is opened when something in it is asked for."""
    files, metadata = weight_map(path, name)
    names = sorted(set(files.values()))
    missing = [file for file in names if not os.path.isfile(path.parent / file)]
    if missing:
        shown = ", ".join(repr(file) for file in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CheckpointNotFoundError(
            f"{name!r} lacks {len(missing)} of {plural(len(names), 'shard')}: {shown}.",
            where=str(path),
            fix="Fetch the missing files into the folder of the index.",
        )
    shards = Shards(path.parent, name)
    tree: dict[str, Any] = {key: InShard(shards, file, key) for key, file in files.items()}
    told = {key: str(each) for key, each in metadata.items()}
    return Contents(tree, plural(len(names), "shard"), told, (shards,))


@dataclass
class Shards:
    """The files of an index, opened as they are needed."""

    folder: Path
    name: str
    opened: dict[str, Contents] = field(default_factory=dict)

    def tensor(self, file: str, key: str) -> Stored:
        """A tensor of a file."""
        if file not in self.opened:
            span = Span(self.folder / file, self.name)
            head = span.read(0, min(9, span.size))
            # One that was cut off is known by its name.
            named = Path(file).suffix == ".safetensors" and not head.startswith((b"PK\x03\x04", b"\x80"))
            self.opened[file] = open_safe(span) if named or looks_safe(head) else open_torch(span)
        tree = self.opened[file].tree
        stored = as_stored(tree.get(key)) if isinstance(tree, dict) else None
        if stored is None:
            raise CheckpointError(
                f"The index of {self.name!r} says that {key!r} is in {file}, and it is not.",
                where=str(self.folder / file),
                fix="Fetch the index and the shards again, from one place.",
            )
        return stored

    def close(self) -> None:
        """Let go of the files."""
        for contents in self.opened.values():
            for span in contents.files:
                span.close()


@dataclass(frozen=True)
class InShard(Stored):
    """A tensor in a shard that was perhaps not opened yet."""

    shards: Shards
    file: str
    key: str

    @property
    def info(self) -> TensorInfo:
        return self._stored().info

    def read(self) -> torch.Tensor:
        return self._stored().read()

    def read_into(self, target: torch.Tensor, offsets: Sequence[int]) -> None:
        self._stored().read_into(target, offsets)

    def mapped(self) -> torch.Tensor | str:
        return self._stored().mapped()

    def viewed(self, view: View) -> Stored:
        return self._stored().viewed(view)

    @property
    def in_pieces(self) -> bool:
        return self._stored().in_pieces

    def _stored(self) -> Stored:
        return self.shards.tensor(self.file, self.key)
