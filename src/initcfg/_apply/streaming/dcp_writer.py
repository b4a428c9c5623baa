"""A checkpoint of ``torch.distributed.checkpoint`` (DCP): its own writer, our plan of what to write.

Each tensor is cut into chunks, which are made when the writer asks for them: one while the one before is
written. ``.metadata``, without which there is no checkpoint, is written by the writer at the very end.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, cycle
from pathlib import Path

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import (
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future as TorchFuture

from initcfg._apply.streaming.items import Item
from initcfg._apply.streaming.making import Maker, Piece, pieces
from initcfg._apply.streaming.world import World
from initcfg._apply.streaming.writer import buffer_size
from initcfg._config.files import output_error
from initcfg._stream.writing import Pool, limit_this_thread, thread_count
from initcfg.errors import InitcfgError, OutputError

# A chunk is as long as some buffers of a safetensors file, 64 MB: fewer make a smaller table, and quicker
# loads.
_BUFFERS = 16


@dataclass(frozen=True)
class PlannedChunk:
    """A block of a tensor, as it is stored under one of the tensor's keys."""

    key: str
    item: Item
    piece: Piece

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.piece.elements * self.item.dtype.itemsize


def chunks(items: Sequence[Item]) -> list[PlannedChunk]:
    """The chunks of some tensors: those that are not made piece by piece whole, tied ones under every key."""
    found: list[PlannedChunk] = []
    for item in items:
        most = buffer_size() * _BUFFERS // item.dtype.itemsize
        # There is no piece of nothing, and a chunk of it.
        whole = item.way in ("whole", "resident") or item.elements == 0
        cut = [Piece((0,) * len(item.shape), item.shape)] if whole else list(pieces(item.shape, most))
        found += [PlannedChunk(key, item, piece) for key in (item.key, *item.others) for piece in cut]
    return found


def share(found: Sequence[PlannedChunk], world: World) -> list[PlannedChunk]:
    """The chunks that a rank writes: of all in order, about as many bytes for each."""
    sizes = [chunk.size for chunk in found]
    # The rank that the middle of a chunk falls to.
    middles = [end - size / 2 for size, end in zip(sizes, accumulate(sizes), strict=True)]
    scale = world.size / max(sum(sizes), 1)
    owners = [min(int(middle * scale), world.size - 1) for middle in middles]
    return [chunk for chunk, owner in zip(found, owners, strict=True) if owner == world.rank]


def write_dcp(
    path: Path,
    maker: Maker,
    mine: Sequence[PlannedChunk],
    *,
    prefix: str | None,
    world: World,
    told: Callable[[int], None],
) -> None:
    """Write this rank's chunks into a folder; with the ``.metadata`` of all ranks' chunks, in the end.

    ``prefix`` is the key of the table that the tensors are in; ``told`` is told how many bytes were made.
    """
    try:
        with warnings.catch_warnings(), contextlib.closing(_made_ahead(maker, mine)) as tensors:
            warnings.filterwarnings("ignore", ".*assuming the intent is to save in a single process")
            save(
                {},
                # One thread: what fails in another, the writer would not notice.
                storage_writer=_TolerantWriter(path, thread_count=1),
                planner=_Planner(mine, prefix, tensors, told),
                process_group=world.group,
                no_dist=world.size == 1,
            )
    except CheckpointException as failure:
        rank, (error, _) = min(failure.failures.items(), key=lambda failed: failed[0])
        if isinstance(error, InitcfgError):
            raise error from failure
        if isinstance(error, OSError):
            raise output_error(path, error) from failure
        where = f" on rank {rank}" if world.size > 1 else ""
        raise OutputError(
            f"{str(path)!r} cannot be written: {type(error).__name__}{where}: {error}."
        ) from failure


class _TolerantWriter(FileSystemWriter):
    """PyTorch's writer, whose errors say why a file could not be written."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> TorchFuture[list[WriteResult]]:
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            # Where a disk is full, closing the archive hides it.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise
            raise OSError(cause.errno, cause.strerror) from error


class _Planner(DefaultSavePlanner):
    """Says that these chunks are to be written, and makes each when it is asked for."""

    def __init__(
        self,
        mine: Sequence[PlannedChunk],
        prefix: str | None,
        tensors: Iterator[torch.Tensor],
        told: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._mine = mine
        self._path = () if prefix is None else (prefix,)
        self._tensors = tensors
        self._told = told

    def create_local_plan(self) -> SavePlan:
        self.mappings = {".".join((*self._path, chunk.key)): (*self._path, chunk.key) for chunk in self._mine}
        items = [_write_item(".".join((*self._path, chunk.key)), chunk) for chunk in self._mine]
        self.plan = SavePlan(items, planner_data=self.mappings)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        tensor = next(self._tensors)
        self._told(tensor.numel() * tensor.element_size())
        return tensor


def _write_item(key: str, chunk: PlannedChunk) -> WriteItem:
    offsets, sizes = torch.Size(chunk.piece.offsets), torch.Size(chunk.piece.sizes)
    return WriteItem(
        index=MetadataIndex(key, offsets),
        type=WriteItemType.SHARD,
        tensor_data=TensorWriteData(
            chunk=ChunkStorageMetadata(offsets=offsets, sizes=sizes),
            properties=TensorProperties(dtype=chunk.item.dtype),
            size=torch.Size(chunk.item.shape),
        ),
    )


def _made_ahead(maker: Maker, chunks: Sequence[PlannedChunk]) -> Generator[torch.Tensor, None, None]:
    """Chunks in their order, each made by a thread while the one before is written.

    The writer keeps every tensor that it was given until its file is done, so their memory is taken back:
    the chunks lie in two storages, in turn, and what was made whole is freed when the next is asked for.
    """
    storages = cycle([torch.UntypedStorage(0), torch.UntypedStorage(0)])
    pool = Pool(1, "initcfg-chunks", partial(limit_this_thread, thread_count()))
    try:
        waiting = [pool.submit(_made, maker, chunk, storages) for chunk in chunks[:1]]
        for chunk in chunks[1:]:
            tensor = waiting.pop().result()
            waiting.append(pool.submit(_made, maker, chunk, storages))
            yield tensor
        for last in waiting:
            yield last.result()
    finally:
        pool.shutdown(cancel_futures=True)
        maker.release()


def _made(maker: Maker, chunk: PlannedChunk, storages: Iterator[torch.UntypedStorage]) -> torch.Tensor:
    item, piece = chunk.item, chunk.piece
    if item.way == "resident":
        return maker.whole(item).to(item.dtype).contiguous()
    storage = next(storages)
    if storage.nbytes() != chunk.size:
        # The writer would copy a tensor that is shorter than its storage.
        storage.resize_(0)
        storage.resize_(chunk.size)
    tensor = torch.empty(0, dtype=item.dtype, device="cpu").set_(storage, 0, piece.sizes)  # type: ignore[call-overload]
    maker.put(tensor, item, piece)
    maker.flush()
    if item.way == "whole":
        maker.release()
    return tensor
