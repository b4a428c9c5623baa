"""A checkpoint of ``torch.distributed.checkpoint`` (DCP): its own writer, our plan of what to write.

Each tensor is cut into chunks, which are made when the writer asks for them: one while the one before is
written. ``.metadata``, without which there is no checkpoint, is written by the writer at the very end.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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
from initcfg._apply.streaming.making import Maker
from initcfg._apply.streaming.pieces import Piece, pieces
from initcfg._apply.streaming.world import World
from initcfg._apply.streaming.writer import buffer_size
from initcfg._config.files import output_error
from initcfg.errors import InitcfgError, OutputError

# A chunk is as long as two buffers of a safetensors file: fewer make a smaller table, and quicker loads.
_BUFFERS = 2


@dataclass(frozen=True)
class Chunk:
    """A block of a tensor, as it is stored.

    Attributes:
        key: Key of the tensor in the checkpoint: one of the item's.
        item: The tensor.
        piece: The block.
    """

    key: str
    item: Item
    piece: Piece

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.piece.elements * self.item.dtype.itemsize


def chunks(items: Sequence[Item]) -> list[Chunk]:
    """The chunks of some tensors: those that are not made piece by piece whole, tied ones under every key."""
    found: list[Chunk] = []
    for item in items:
        most = buffer_size() * _BUFFERS // item.dtype.itemsize
        # There is no piece of nothing, and a chunk of it.
        whole = item.way in ("whole", "resident") or item.elements == 0
        cut = [Piece((0,) * len(item.shape), item.shape)] if whole else list(pieces(item.shape, most))
        found += [Chunk(key, item, piece) for key in (item.key, *item.others) for piece in cut]
    return found


def share(found: Sequence[Chunk], world: World) -> list[Chunk]:
    """The chunks that a rank writes: of all in order, about as many bytes for each."""
    total = sum(chunk.size for chunk in found)
    mine: list[Chunk] = []
    before = 0
    for chunk in found:
        middle = before + chunk.size / 2
        if (min(int(middle * world.size / total), world.size - 1) if total else 0) == world.rank:
            mine.append(chunk)
        before += chunk.size
    return mine


def write_dcp(
    path: Path,
    maker: Maker,
    mine: Sequence[Chunk],
    *,
    prefix: str | None,
    world: World,
    told: Callable[[int], None],
) -> None:
    """Write chunks into a folder; with the ``.metadata`` of all ranks' chunks, in the end.

    Args:
        path: The folder.
        maker: Makes the numbers.
        mine: What this rank writes.
        prefix: Key of the table that the tensors are in; None if they are at the top.
        world: The ranks that write.
        told: Told how many bytes were made, now and then.

    Raises:
        OutputError: It cannot be written, by this rank or another.
    """
    planner = _Planner(maker, mine, prefix, told)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*assuming the intent is to save in a single process")
            save(
                {},
                # One thread: what fails in another, the writer would not notice.
                storage_writer=_Writer(path, thread_count=1),
                planner=planner,
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
    finally:
        planner.close()


class _Writer(FileSystemWriter):
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
        self, maker: Maker, mine: Sequence[Chunk], prefix: str | None, told: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._prefix = prefix
        self._told = told
        self._mine = mine
        self._ahead = _Ahead(maker, mine)

    def create_local_plan(self) -> SavePlan:
        path = () if self._prefix is None else (self._prefix,)
        self.mappings = {".".join((*path, chunk.key)): (*path, chunk.key) for chunk in self._mine}
        items = [_write_item(".".join((*path, chunk.key)), chunk) for chunk in self._mine]
        self.plan = SavePlan(items, planner_data=self.mappings)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        tensor = self._ahead.next()
        self._told(tensor.numel() * tensor.element_size())
        return tensor

    def close(self) -> None:
        """Let go of everything."""
        self._ahead.close()


def _write_item(key: str, chunk: Chunk) -> WriteItem:
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


class _Ahead:
    """Chunks in their order, each made by a thread while the one before is written.

    The writer keeps every tensor that it was given until its file is done, so their memory is taken back:
    two chunks share one storage, in turn, and what was made whole is freed when the next is asked for.
    """

    def __init__(self, maker: Maker, found: Sequence[Chunk]) -> None:
        self._maker = maker
        self._found: Iterator[Chunk] = iter(found)
        self._storages = itertools.cycle([torch.UntypedStorage(0), torch.UntypedStorage(0)])
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="initcfg-chunks")
        self._waiting = self._submitted()

    def next(self) -> torch.Tensor:
        """The next chunk; what was given before is not used any more."""
        assert self._waiting is not None
        made = self._waiting.result()
        self._waiting = self._submitted()
        return made

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
        self._maker.release()

    def _submitted(self) -> Future[torch.Tensor] | None:
        chunk = next(self._found, None)
        return None if chunk is None else self._pool.submit(self._make, chunk)

    def _make(self, chunk: Chunk) -> torch.Tensor:
        item, piece = chunk.item, chunk.piece
        if item.way == "resident":
            return self._maker.whole(item).to(item.dtype).contiguous()
        storage = next(self._storages)
        if storage.nbytes() != chunk.size:
            # The writer would copy a tensor that is shorter than its storage.
            storage.resize_(0)
            storage.resize_(chunk.size)
        tensor = torch.empty(0, dtype=item.dtype).set_(storage, 0, piece.sizes)  # type: ignore[call-overload]
        self._maker.put(tensor, item, piece)
        self._maker.flush()
        if item.way == "whole":
            self._maker.release()
        return tensor
