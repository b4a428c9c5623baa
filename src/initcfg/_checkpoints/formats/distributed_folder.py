"""Folders of ``torch.distributed.checkpoint``, read by one process, a tensor at a time."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from initcfg._checkpoints.formats.pickled import PickledName, PickledObject
from initcfg._checkpoints.formats.spans import Span
from initcfg._checkpoints.formats.stored import Contents, Stored, TensorInfo, is_shape
from initcfg._checkpoints.formats.tables import as_stored
from initcfg._checkpoints.formats.torch_file import open_archive
from initcfg._checkpoints.formats.torch_tensors import DTYPES, TensorCalls
from initcfg._checkpoints.formats.untrusted import leads_out
from initcfg._stream.writing import narrowed
from initcfg.errors import CheckpointError
from initcfg.values import dtype_name

METADATA = ".metadata"
_LONGEST_METADATA = 1 << 30
# Cells of the grid that the edges of a tensor's chunks make.
_MOST_CELLS = 1 << 26

_MODULE = "torch.distributed.checkpoint.metadata."
_FILES = "torch.distributed.checkpoint.filesystem."
_NAMES = frozenset(
    [_MODULE + name for name in ("Metadata", "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING")]
    + [_MODULE + kind + "StorageMetadata" for kind in ("Tensor", "Chunk", "Bytes")]
    + [_MODULE + "TensorProperties", _FILES + "_StorageInfo", _FILES + "_StoragePrefix"]
)


@dataclass(frozen=True)
class StoredChunk:
    """A block of a tensor: where in the tensor, and where in which file."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


def open_distributed(path: Path, name: str) -> Contents:
    """What a folder of ``torch.distributed.checkpoint`` holds."""
    span = Span(path / METADATA, name)
    with contextlib.closing(span):
        if span.size > _LONGEST_METADATA:
            raise span.damaged(f"its metadata has {span.size:,} bytes")
        calls = TensorCalls(span, _NAMES, strict=True)
        root, _ = calls.load(span.read(0, span.size))
        state = _state(span, root, "Metadata")
        entries = state.get("state_dict_metadata")
        if not isinstance(entries, dict):
            raise span.damaged("its metadata has no table of tensors")
        places = dict(_places(span, state.get("storage_data")))
        paths = state.get("planner_data")
        tree: dict[str, Any] = {}
        for key, entry in entries.items():
            _put(span, tree, paths, key, _tensor(span, path, key, entry, places))
        files = {file for file, _, _ in places.values()}
        missing = sorted(file for file in files if not os.path.isfile(path / file))
        if missing:
            raise span.damaged(
                f"{len(missing)} of its {len(files)} files are missing, {missing[0]!r} for one",
                "Fetch the missing files into the folder.",
            )
    return Contents(tree, "torch.distributed.checkpoint")


def _state(span: Span, made: Any, kind: str) -> dict[Any, Any]:
    """The attributes of an object of some class."""
    name = made.name.rpartition(".")[2] if isinstance(made, PickledObject) else None
    if name != kind or not isinstance(made.state, dict):
        raise span.damaged(f"its metadata has something else where a {kind} must be")
    return made.state


def _places(span: Span, data: Any) -> Iterator[tuple[tuple[Any, ...], tuple[str, int, int]]]:
    """Where each block lies, by key and offsets."""
    for index, info in data.items() if isinstance(data, dict) else ():
        where, what = _state(span, index, "MetadataIndex"), _state(span, info, "_StorageInfo")
        file, start, length = what.get("relative_path"), what.get("offset"), what.get("length")
        if not isinstance(file, str) or leads_out(file):
            raise span.damaged(f"its metadata names the file {file!r}, which is not in its folder")
        if type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise span.damaged("its metadata has a block without a place")
        if what.get("transform_descriptors"):
            raise span.refused("has blocks that an extension transformed", "Save it without the extension.")
        key, offset = where.get("fqn"), where.get("offset")
        if not isinstance(key, str) or not (offset is None or is_shape(offset)):
            raise span.damaged("its metadata has a block of no tensor")
        yield (key, None if offset is None else tuple(offset)), (file, start, length)


def _tensor(span: Span, folder: Path, key: Any, entry: Any, places: dict[Any, tuple[str, int, int]]) -> Any:
    if isinstance(entry, PickledObject) and entry.name == _MODULE + "BytesStorageMetadata":
        return entry
    state = _state(span, entry, "TensorStorageMetadata")
    size, dtype = state.get("size"), _dtype(state.get("properties"))
    if dtype is None or not is_shape(size) or not isinstance(state.get("chunks"), list):
        raise span.damaged(f"its metadata says no shape or type of {key!r}")
    size = tuple(size)
    chunks: list[StoredChunk] = []
    for each in state["chunks"]:
        block = _state(span, each, "ChunkStorageMetadata")
        offsets, sizes = block.get("offsets"), block.get("sizes")
        if not is_shape(offsets) or not is_shape(sizes) or not len(offsets) == len(sizes) == len(size):
            raise span.damaged(f"its metadata has a block of {key!r} of no shape")
        place = places.get((key, tuple(offsets))) or places.get((key, None))
        if place is None:
            raise span.damaged(f"its metadata does not say where a block of {key!r} lies")
        chunks.append(StoredChunk(tuple(offsets), tuple(sizes), *place))
    _check_chunks(span, key, size, chunks)
    return InChunks(folder, span.name, TensorInfo(size, dtype_name(dtype)), dtype, tuple(chunks))


def _dtype(properties: Any) -> torch.dtype | None:
    state = properties.state if isinstance(properties, PickledObject) else None
    if isinstance(state, dict):
        state = (state.get("dtype"),)
    named = state[0] if isinstance(state, tuple) and state else None
    return DTYPES.get(named.name) if isinstance(named, PickledName) else None


def _check_chunks(span: Span, key: str, size: tuple[int, ...], chunks: list[StoredChunk]) -> None:
    """Refuse blocks that overlap, lie outside, or leave something out."""
    for chunk in chunks:
        ends = [first + length for first, length in zip(chunk.offsets, chunk.sizes, strict=True)]
        if any(end > count for end, count in zip(ends, size, strict=True)):
            raise span.damaged(f"a block of {key!r} lies outside of it")
    if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(size):
        raise span.damaged(f"the blocks of {key!r} are not the whole of it")
    if math.prod(size) == 0 or len(chunks) == 1:
        return
    # The edges of all blocks make a grid; with as many elements as there are, only overlap leaves a cell out.
    cuts = [
        np.unique([0, count, *(end for c in chunks for end in (c.offsets[d], c.offsets[d] + c.sizes[d]))])
        for d, count in enumerate(size)
    ]
    if math.prod(len(each) - 1 for each in cuts) > _MOST_CELLS:
        raise span.refused(f"has {key!r} in blocks that make no grid", "Save it again with fewer processes.")
    covered = np.zeros([len(each) - 1 for each in cuts], dtype=bool)
    for chunk in chunks:
        cells = tuple(
            slice(*np.searchsorted(cut, (first, first + count)).tolist())
            for cut, first, count in zip(cuts, chunk.offsets, chunk.sizes, strict=True)
        )
        covered[cells] = True
    if not covered.all():
        raise span.damaged(f"the blocks of {key!r} overlap")


def _put(span: Span, tree: dict[str, Any], paths: Any, key: Any, value: Any) -> None:
    """Put something where it was in the saved tables: DCP joins the keys on the way to it with dots."""
    if not isinstance(key, str):
        raise span.damaged("its metadata has a key that is not a text")
    path = paths.get(key) if isinstance(paths, dict) else None
    if not isinstance(path, tuple) or not 0 < len(path) <= 64:
        path = (key,)
    *outer, last = (str(step)[:1000] for step in path)
    for step in outer:
        inner = tree.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        tree = inner
    tree[last] = value


@dataclass(frozen=True)
class InChunks(Stored):
    """A tensor in blocks, each an archive of ``torch.save`` within a file."""

    folder: Path
    name: str
    known: TensorInfo
    dtype: torch.dtype
    chunks: tuple[StoredChunk, ...]

    @property
    def info(self) -> TensorInfo:
        return self.known

    @property
    def in_pieces(self) -> bool:
        return True

    def read(self) -> torch.Tensor:
        if math.prod(self.known.shape) * self.dtype.itemsize > sum(chunk.length for chunk in self.chunks):
            raise CheckpointError(
                f"The checkpoint {self.name!r} is damaged: a tensor of shape {self.known.shape} is longer "
                "than its blocks.",
                where=str(self.folder),
                fix="Save it again.",
            )
        made = torch.empty(self.known.shape, dtype=self.dtype, device="cpu")
        self.read_into(made, (0,) * made.dim())
        return made

    def read_into(self, target: torch.Tensor, offsets: Sequence[int]) -> None:
        for chunk in self.chunks:
            # Where the block and the chunk overlap, counted from the beginning of each.
            there, here, lengths = [], [], []
            for first, count, offset, size in zip(
                chunk.offsets, chunk.sizes, offsets, target.shape, strict=True
            ):
                start = max(first, offset)
                there.append(start - first)
                here.append(start - offset)
                lengths.append(min(first + count, offset + size) - start)
            if all(length > 0 for length in lengths):
                self._read(chunk, narrowed(target, here, lengths), there)

    def _read(self, chunk: StoredChunk, target: torch.Tensor, offsets: Sequence[int]) -> None:
        span = Span(self.folder / chunk.file, self.name, start=chunk.start, length=chunk.length)
        with contextlib.closing(span):
            stored = as_stored(open_archive(span).tree)
            if stored is None or stored.info != TensorInfo(chunk.sizes, self.known.dtype):
                raise span.damaged("a block is not what the metadata says")
            stored.read_into(target, offsets)
