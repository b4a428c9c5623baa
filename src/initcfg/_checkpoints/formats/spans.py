"""Stretches of a file: bounded, and read piece by piece, never whole."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from pathlib import Path

import torch

from initcfg._checkpoints.formats.open_files import FileChanged, OpenFile, Read
from initcfg._stream.writing import for_each, thread_count
from initcfg.errors import CheckpointError

# Several threads read what is longer than two of these: one alone does not keep up with the memory.
_STEP = 16 << 20
_WINDOW = 1 << 18
# Below this nobody looks how much memory is free.
_CHECKED_FROM = 1 << 26
_AGAIN = "Fetch or save the file again."


class Span:
    """A stretch of a file; the whole file unless told otherwise.

    Every position is counted from the beginning of the stretch, and checked against its end. Several
    threads may read at the same time. ``close`` lets go of the file; tensors that were read stay.
    """

    def __init__(self, path: Path, name: str, *, start: int = 0, length: int | None = None) -> None:
        self.path = path
        self.name = name
        self.start = start
        try:
            self._file = OpenFile(path)
        except (OSError, ValueError) as error:
            raise cannot("opened", name, error) from error
        # A checkpoint that nobody closed is no fault of anybody's.
        self.close = weakref.finalize(self, self._file.close)
        whole = self._file.size
        self.size = whole - start if length is None else length
        if start < 0 or self.size < 0 or start + self.size > whole:
            raise self.damaged(f"{path.name} ends before its part at byte {start} does")

    def damaged(self, what: str, fix: str = _AGAIN) -> CheckpointError:
        """The error for a file that is not what it should be."""
        return self.refused(f"is damaged: {what}", fix)

    def refused(self, what: str, fix: str) -> CheckpointError:
        """The error for a file that is whole, and not read all the same."""
        return CheckpointError(f"The checkpoint {self.name!r} {what}.", where=str(self.path), fix=fix)

    def check(self, start: int, length: int, what: str) -> None:
        """Refuse a stretch that is not within this one."""
        if start < 0 or length < 0 or start + length > self.size:
            raise self.damaged(f"{what} would end at byte {start + length}, and the file ends at {self.size}")

    def read(self, start: int, length: int, what: str = "a part of it") -> bytes:
        """Some bytes; all of them, or an error."""
        self.check(start, length, what)
        data = bytearray(length)
        self.read_into(memoryview(data), start)
        return bytes(data)

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill memory with the bytes from ``start`` on: all of it, or an error."""
        parts = range(0, len(target), _STEP)
        if len(parts) <= 2 or thread_count() == 1:
            with self.reading() as read:
                read(target, start)
            return

        def work(first: int) -> None:
            with self.reading() as read:
                read(target[first : first + _STEP], start + first)

        self.check(start, len(target), "a part of it")
        for_each(work, parts, min(thread_count(), len(parts)), "initcfg-reader")

    @contextlib.contextmanager
    def reading(self) -> Iterator[Read]:
        """Gives a function that fills memory with the bytes from a position on: all of it, or an error.

        Within this the file stays open; at its end it must be what it was.
        """
        if self._file.closed:
            raise CheckpointError(f"The checkpoint {self.name!r} was closed.", fix="Open it again.")
        try:
            with self._file.reading() as read:

                def within(target: memoryview, start: int) -> None:
                    if start < 0 or start + len(target) > self.size:
                        self.check(start, len(target), "a part of it")
                    read(target, self.start + start)

                yield within
        except FileChanged as error:
            raise self._changed(error) from error
        except OSError as error:
            raise cannot("read", self.name, error) from error

    def place(self, start: int) -> int:
        """Where a position is in the whole file."""
        return self.start + start

    def mapped(self, start: int, length: int) -> torch.UntypedStorage:
        """The bytes from ``start`` on as memory of their own, without reading them.

        Raises:
            OSError: The system does not map the file.
        """
        self.check(start, length, "a part of it")
        try:
            return self._file.mapped(self.start + start, length)
        except FileChanged as error:
            raise self._changed(error) from error

    def _changed(self, error: FileChanged) -> CheckpointError:
        return CheckpointError(
            f"The checkpoint {self.name!r} changed while it was read: {error}.",
            where=str(self.path),
            fix="Read it again when nobody writes to it any more.",
        )

    def window(self) -> Window:
        """All of it, as bytes that are read when they are asked for."""
        return Window(self)

    def memory(self, length: int) -> torch.Tensor:
        """Memory for a part of the file, if there is enough."""
        free = available_memory() if length >= _CHECKED_FROM else None
        if free is not None and length > free:
            raise self.refused(
                f"holds a tensor of {length:,} bytes that would be read whole, and {free:,} bytes are free",
                "Read it on a machine with more memory.",
            )
        return torch.empty(length, dtype=torch.uint8, device="cpu")


class Window:
    """The bytes of a stretch, of which a piece is in memory at a time."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._first = 0
        self._piece = b""

    def __len__(self) -> int:
        return self._span.size

    def __getitem__(self, place: slice) -> bytes:
        first, last, _ = place.indices(len(self))
        within = first - self._first
        if within < 0 or last > self._first + len(self._piece):
            if last - first > _WINDOW:
                return self._span.read(first, last - first)
            self._first, within = first, 0
            self._piece = self._span.read(first, min(_WINDOW, len(self) - first))
        return self._piece[within : within + max(last - first, 0)]

    def find(self, wanted: bytes, first: int, last: int) -> int:
        """As of bytes: where something begins, or -1."""
        found = self[first:last].find(wanted)
        return found if found < 0 else first + found


def cannot(done: str, name: str, error: OSError | ValueError) -> CheckpointError:
    """The error for a file that the system does not let be ``"opened"`` or ``"read"``."""
    return CheckpointError(
        f"The checkpoint {name!r} cannot be {done}: {getattr(error, 'strerror', None) or error}.",
        fix="Give the path of a file that can be read.",
    )


def available_memory() -> int | None:
    """Bytes of memory that are free; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
