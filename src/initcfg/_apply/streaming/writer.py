"""The writer: buffers that are filled, written and digested at the same time.

A buffer is a stretch of the file. While one is filled, two threads write others, so that the disk always has
something to do, and some compute the file's digest. What the system keeps for the disk, another thread has it
bring there meanwhile, so that the end of a file does not wait for all of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from threading import BoundedSemaphore, Lock

import torch

from initcfg._apply.streaming.making import Maker, pieces
from initcfg._apply.streaming.output_file import ALIGNMENT, OutputFile, aligned_memory
from initcfg._apply.streaming.shard_files import Shard
from initcfg._apply.written_digests import NumbersDigest, digest_threads
from initcfg._config.files import output_error
from initcfg._stream import number
from initcfg._stream.writing import Pool, as_array
from initcfg.errors import InitcfgError, OutputError, in_bytes

BUFFER = "INITCFG_STREAM_BUFFER"
"""Variable of the environment: bytes of a buffer, for tests."""
# All of them together stay in a processor's last cache, where who writes and who digests find them: larger
# ones make the digest wait for memory, and the first bytes and the last wait longer for their turn.
_BUFFER_SIZE = 4 << 20
_BUFFERS = 8
_WRITERS = 2
_MOST_OPEN = 32
# Bytes from one call for the disk to the next.
_SYNCED = 256 << 20
# No tensor's elements are wider.
_LEAST = 1 << 10
# With smaller ones there would be nothing but calls of the system.
_SMALLEST = 1 << 16
# Smaller files and buffers go the usual way: each direct write waits for the disk.
_DIRECT_FILE, _DIRECT_BUFFER = 64 << 20, 1 << 20


def buffer_size() -> int:
    """Bytes of a buffer."""
    wanted = number(BUFFER, _BUFFER_SIZE)
    return max(int(wanted), _LEAST)


def _buffers(size: int) -> list[torch.Tensor]:
    """Buffers of a size: fewer, or smaller ones, where the system gives no more memory.

    Raises:
        OutputError: There is none for two small ones.
    """
    while True:
        found: list[torch.Tensor] = []
        try:
            for _ in range(_BUFFERS):
                found.append(aligned_memory(size))
        except (RuntimeError, MemoryError) as error:
            # torch says what it does not get by a RuntimeError. One is filled while another is written.
            if len(found) < 2 and size <= _SMALLEST:
                raise OutputError(
                    f"There is no memory for two buffers of {in_bytes(size)}, through which the weights are "
                    "written.",
                    fix="Free memory, or raise the limit of this process (ulimit -v).",
                ) from error
            if len(found) < 2:
                size = max(size // 4, _SMALLEST)
                continue
        return found


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """What the system refuses within this is an OutputError about the path."""
    try:
        yield
    except InitcfgError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    except MemoryError as error:
        raise OutputError(
            f"{str(path)!r} cannot be written: there is no memory left.",
            fix="Free memory, or raise the limit of this process (ulimit -v); nothing was left half-written.",
        ) from error


class _Stretch:
    """A stretch of a file in memory: the file's bytes from ``place`` on, as many as are ``used``.

    The digest has the first ``known`` of them already, or is not to have them. ``readers`` are those that
    have not done with it.
    """

    def __init__(self, memory: torch.Tensor, place: int) -> None:
        self.memory, self.place = memory, place
        self.used = self.known = 0
        self.readers = 1

    def take(self, data: torch.Tensor) -> None:
        """Append bytes that are not for the digest."""
        self.memory[self.used : self.used + len(data)] = data
        self.used += len(data)
        self.known = self.used

    def bytes(self, first: int, last: int) -> memoryview:
        """Some of its bytes."""
        return as_array(self.memory).data[first:last]


class _Begun:
    """A file that is not whole yet: its digest so far, and what is still done for it."""

    def __init__(self, shard: Shard, file: OutputFile) -> None:
        self.shard, self.file = shard, file
        # Of a direct write, what does not fill a block of the disk goes with the next.
        self.block = ALIGNMENT if file.direct else 1
        self.digest = NumbersDigest()
        self.work: list[Future[None]] = []


class Writer:
    """Writes shards into a folder; each appears under its name when it is whole, and on disk.

    Use it as a context: at its end everything is on disk, or the error is raised. ``told`` is told how many
    bytes were written, now and then, in another thread. ``threads``: how many may compute, all cores if None;
    with one, no thread computes beside the caller's.
    """

    def __init__(
        self, folder: Path, maker: Maker, told: Callable[[int], None], *, threads: int | None = None
    ) -> None:
        self._folder = folder
        self._maker = maker
        self._told = told
        self._alone = threads == 1
        buffers = _buffers(buffer_size())
        self._size = len(buffers[0])
        self._free: queue.Queue[torch.Tensor] = queue.Queue()
        for each in buffers:
            self._free.put(each)
        self._writing = Pool(_WRITERS, "initcfg-writer")
        self._syncing = Pool(1, "initcfg-writer")
        self._digesting = [Pool(1, "initcfg-writer") for _ in range(digest_threads(threads))]
        self._turn = itertools.cycle(range(len(self._digesting)))
        self._lock = Lock()
        self._error: BaseException | None = None
        self._unsynced = 0
        self._last_sync: Future[None] | None = None
        self._begun: dict[str, _Begun] = {}
        # A process may have few files open, and a checkpoint many small ones.
        self._places = BoundedSemaphore(_MOST_OPEN)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._error is None:
            # What waits is not written any more.
            self._error = InterruptedError()
        # The last of them is given work by the others.
        for pool in (*self._digesting, self._writing, self._syncing):
            pool.shutdown()
        for name, begun in self._begun.items():
            begun.file.close()
            self._partial(name).unlink(missing_ok=True)
        self._begun.clear()
        if kind is None:
            self._check()

    def write(self, shard: Shard) -> None:
        """Make a shard and have it written; it is whole at the latest when the context ends."""
        self._check()
        self._places.acquire()
        direct = shard.size >= _DIRECT_FILE and self._size >= _DIRECT_BUFFER
        with output_errors(self._folder / shard.name):
            file = OutputFile(self._partial(shard.name), direct=direct)
        begun = self._begun[shard.name] = _Begun(shard, file)
        here = self._with_header(begun)

        def left() -> int:
            return self._size - here.used

        for item in shard.items:
            width = item.dtype.itemsize
            most = (self._size - begun.block) // width
            for piece in pieces(item.shape, most, lambda width=width: left() // width):
                length = piece.elements * width
                if here.used + length > self._size:
                    here = self._next(begun, here)
                into = here.memory[here.used : here.used + length].view(item.dtype).view(piece.sizes)
                self._maker.put(into, item, piece)
                here.used += length
        self._hand_over(begun, here, here.used)
        self._maker.release()
        self._syncing.submit(self._end, begun)

    def _with_header(self, begun: _Begun) -> _Stretch:
        """A stretch that ends behind the file's header."""
        header, done = torch.frombuffer(bytearray(begun.shard.header), dtype=torch.uint8), 0
        here = _Stretch(self._free.get(), 0)
        while done < len(header):
            if here.used == self._size:
                here = self._next(begun, here)
            part = header[done : done + self._size - here.used]
            here.take(part)
            done += len(part)
        return here

    def _next(self, begun: _Begun, here: _Stretch) -> _Stretch:
        """Hand a stretch over; the one that follows."""
        whole = here.used - here.used % begun.block
        self._hand_over(begun, here, whole)
        following = _Stretch(self._free.get(), here.place + whole)
        self._check()
        # Nobody but the caller's thread writes into a buffer: they are still there.
        following.take(here.memory[whole : here.used])
        return following

    def _hand_over(self, begun: _Begun, here: _Stretch, length: int) -> None:
        """Have so many of a stretch's bytes written, and all of them in the digest."""
        self._maker.flush()
        header = len(begun.shard.header)
        parts = list(begun.digest.parts(here.place + here.known - header, here.used - here.known))
        here.readers += len(parts)
        for first, last in parts:
            if self._alone:
                self._do(begun, self._digest, here, first, last)
            else:
                # One thread has whatever must come in order.
                ordered = begun.digest.in_order(first, last - first)
                pool = self._digesting[0 if ordered else next(self._turn)]
                begun.work.append(pool.submit(self._do, begun, self._digest, here, first, last))
        begun.work.append(self._writing.submit(self._do, begun, self._write, here, length))

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _partial(self, name: str) -> Path:
        """What a file is called until it is whole."""
        return self._folder / f".{name}.partial"

    def _do(
        self, begun: _Begun, method: Callable[..., None], here: _Stretch | None = None, *arguments: int
    ) -> None:
        """Do something for a file, unless something failed; then the stretch has a reader less."""
        if self._error is None:
            try:
                with output_errors(self._folder / begun.shard.name):
                    method(begun, *(() if here is None else (here,)), *arguments)
            except BaseException as error:
                self._error = error
        if here is not None:
            with self._lock:
                here.readers -= 1
                if not here.readers:
                    self._free.put(here.memory)

    def _digest(self, begun: _Begun, here: _Stretch, first: int, last: int) -> None:
        within = len(begun.shard.header) - here.place
        begun.digest.update(first, here.bytes(first + within, last + within))

    def _write(self, begun: _Begun, here: _Stretch, length: int) -> None:
        begun.file.write(here.bytes(0, length), here.place)
        with self._lock:
            self._told(length)
            self._unsynced += 0 if begun.file.direct else length
            if self._unsynced >= _SYNCED and (self._last_sync is None or self._last_sync.done()):
                self._unsynced = 0
                self._last_sync = self._syncing.submit(self._do, begun, self._sync)

    def _sync(self, begun: _Begun) -> None:
        begun.file.sync()

    def _end(self, begun: _Begun) -> None:
        try:
            wait(begun.work)
            self._do(begun, lambda _: self._finish(begun.shard))
        finally:
            self._places.release()

    def _finish(self, shard: Shard) -> None:
        begun, place = self._begun[shard.name], shard.digest_place
        if place is not None:
            begun.file.write(memoryview(begun.digest.hexdigest().encode()), place)
        begun.file.sync()
        begun.file.close()
        del self._begun[shard.name]
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
