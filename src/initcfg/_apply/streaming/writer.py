"""The writer: buffers that are filled, written and brought to disk at the same time.

Two buffers: one is filled while a thread writes the other. What was written, a second thread has the system
bring to disk meanwhile, so that the end of a file does not wait for all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import torch

from initcfg._apply.streaming.making import Maker, pieces
from initcfg._apply.streaming.shard_files import Shard
from initcfg._config.files import output_error
from initcfg._stream import number
from initcfg.errors import InitcfgError

BUFFER = "INITCFG_STREAM_BUFFER"
"""Variable of the environment: bytes of a buffer, for tests."""
_BUFFER_SIZE = 32 << 20
_BUFFERS = 2
_MOST_OPEN = 32
# Bytes from one call for the disk to the next.
_SYNCED = 256 << 20
# No tensor's elements are wider.
_LEAST = 1 << 10


def buffer_size() -> int:
    """Bytes of a buffer."""
    wanted = number(BUFFER, _BUFFER_SIZE)
    return max(int(wanted), _LEAST)


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """What the system refuses within this is an OutputError about the path."""
    try:
        yield
    except InitcfgError:
        raise
    except OSError as error:
        raise output_error(path, error) from error


class Writer:
    """Writes shards into a folder; each appears under its name when it is whole, and on disk.

    Use it as a context: at its end everything is on disk, or the error is raised. ``told`` is told how many
    bytes were written, now and then, in another thread.
    """

    def __init__(self, folder: Path, maker: Maker, told: Callable[[int], None]) -> None:
        self._folder = folder
        self._maker = maker
        self._told = told
        self._size = buffer_size()
        self._free: queue.Queue[torch.Tensor] = queue.Queue()
        for _ in range(_BUFFERS):
            self._free.put(torch.empty(self._size, dtype=torch.uint8))
        self._writing, self._syncing = (ThreadPoolExecutor(1, "initcfg-writer") for _ in range(2))
        self._error: BaseException | None = None
        self._unsynced = 0
        self._last_sync: Future[None] | None = None
        self._open: dict[str, FileIO] = {}
        # A process may have few files open, and a checkpoint many small ones.
        self._places = BoundedSemaphore(_MOST_OPEN)
        self._digests: dict[str, Any] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._error is None:
            # What waits is not written any more.
            self._error = InterruptedError()
        self._writing.shutdown()
        self._syncing.shutdown()
        for name, file in self._open.items():
            file.close()
            self._partial(name).unlink(missing_ok=True)
        self._open.clear()
        if kind is None:
            self._check()

    def write(self, shard: Shard) -> None:
        """Make a shard and have it written; it is whole at the latest when the context ends."""
        self._check()
        self._places.acquire()
        self._writing.submit(self._do, self._begin, shard)
        buffer, used = self._free.get(), 0
        for item in shard.items:
            width = item.dtype.itemsize
            for piece in pieces(item.shape, self._size // width):
                length = piece.elements * width
                if used + length > self._size:
                    self._hand_over(shard, buffer, used)
                    buffer, used = self._free.get(), 0
                    self._check()
                into = buffer[used : used + length].view(item.dtype).view(piece.sizes)
                self._maker.put(into, item, piece)
                used += length
        self._hand_over(shard, buffer, used)
        self._maker.release()
        self._writing.submit(lambda: self._syncing.submit(self._end, shard))

    def _end(self, shard: Shard) -> None:
        try:
            self._do(self._finish, shard)
        finally:
            self._places.release()

    def _hand_over(self, shard: Shard, buffer: torch.Tensor, length: int) -> None:
        self._maker.flush()
        self._writing.submit(self._do, self._write_buffer, shard, buffer, length)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _partial(self, name: str) -> Path:
        """What a file is called until it is whole."""
        return self._folder / f".{name}.partial"

    def _do(self, method: Callable[..., None], shard: Shard, *arguments: Any) -> None:
        if self._error is None:
            try:
                with output_errors(self._folder / shard.name):
                    method(shard, *arguments)
            except BaseException as error:
                self._error = error
        if self._error is not None and self._free.empty():
            # Whoever waits for a buffer is to see the error.
            self._free.put(torch.empty(self._size, dtype=torch.uint8))

    def _begin(self, shard: Shard) -> None:
        self._open[shard.name] = FileIO(self._partial(shard.name), "w")
        self._digests[shard.name] = hashlib.sha256()
        self._write(shard, memoryview(shard.header))

    def _write_buffer(self, shard: Shard, buffer: torch.Tensor, length: int) -> None:
        data = buffer.numpy().data[:length]
        self._write(shard, data)
        self._digests[shard.name].update(data)
        self._free.put(buffer)

    def _write(self, shard: Shard, data: memoryview) -> None:
        while data:
            done = self._open[shard.name].write(data)
            data = data[done:]
            self._unsynced += done
            self._told(done)
        if self._unsynced >= _SYNCED and (self._last_sync is None or self._last_sync.done()):
            self._unsynced = 0
            self._last_sync = self._syncing.submit(self._do, self._sync, shard)

    def _sync(self, shard: Shard) -> None:
        os.fsync(self._open[shard.name].fileno())

    def _finish(self, shard: Shard) -> None:
        digest, place = self._digests.pop(shard.name).hexdigest(), shard.digest_place
        if place is not None:
            self._open[shard.name].seek(place)
            self._open[shard.name].write(digest.encode())
        self._sync(shard)
        self._open.pop(shard.name).close()
        os.replace(self._partial(shard.name), self._folder / shard.name)
        sync_folder(self._folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
