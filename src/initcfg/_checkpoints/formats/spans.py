"""Stretches of a file: bounded, read or mapped piece by piece, never whole."""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from pathlib import Path

import torch

from initcfg.errors import CheckpointError

# Below this a tensor is read: mapping a page for it would cost more than copying it.
_MAPPED_FROM = 1 << 18
# Below this nobody looks how much memory is free.
_CHECKED_FROM = 1 << 26
_AGAIN = "Fetch or save the file again."


class Span:
    """A stretch of a file; the whole file unless told otherwise.

    Every position is counted from the beginning of the stretch, and checked against its end. Several
    threads may read at the same time. ``close`` lets go of the file; tensors that are mapped from it stay.
    """

    def __init__(self, path: Path, name: str, *, start: int = 0, length: int | None = None) -> None:
        self.path = path
        self.name = name
        self.start = start
        self._lock = threading.Lock()
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
            size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise cannot("opened", name, error) from error
        # A checkpoint that nobody closed is no fault of anybody's.
        self.close = weakref.finalize(self, self._file.close)
        self.size = size - start if length is None else length
        if start < 0 or self.size < 0 or start + self.size > size:
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
        self._into(memoryview(data), start)
        return bytes(data)

    def tensor(self, start: int, count: int, dtype: torch.dtype) -> torch.Tensor:
        """``count`` numbers from ``start`` on, in one dimension.

        A long stretch is mapped and not copied; what is written to it stays in memory. The mapping lives as
        long as the tensor, so that a tensor that is done with occupies nothing.
        """
        length = count * dtype.itemsize
        self.check(start, length, "a tensor")
        self._check_open()
        place = self.start + start
        if length >= _MAPPED_FROM and place % dtype.itemsize == 0:
            before = place % mmap.ALLOCATIONGRANULARITY
            try:
                mapped = mmap.mmap(
                    self._file.fileno(), before + length, access=mmap.ACCESS_COPY, offset=place - before
                )
            except (OSError, ValueError) as error:
                raise self.damaged(f"it cannot be mapped ({error})") from error
            return torch.frombuffer(mapped, dtype=dtype, count=count, offset=before)
        free = available_memory() if length >= _CHECKED_FROM else None
        if free is not None and length > free:
            raise self.refused(
                f"holds a tensor of {length:,} bytes that cannot be mapped, and {free:,} bytes are free",
                "Save it as safetensors on a machine with more memory.",
            )
        data = torch.empty(length, dtype=torch.uint8)
        self._into(memoryview(data.numpy()), start)  # pyright: ignore[reportArgumentType]
        return data.view(dtype)

    def _check_open(self) -> None:
        if self._file.closed:
            raise CheckpointError(f"The checkpoint {self.name!r} was closed.", fix="Open it again.")

    def _into(self, target: memoryview, start: int) -> None:
        done = 0
        with self._lock:
            self._check_open()
            try:
                self._file.seek(self.start + start)
                while done < len(target):
                    count = self._file.readinto(target[done:])
                    if not count:
                        raise self.damaged(f"{self.path.name} became shorter while it was read")
                    done += count
            except OSError as error:
                raise cannot("read", self.name, error) from error


def cannot(done: str, name: str, error: OSError | ValueError) -> CheckpointError:
    """The error for a file that the system does not let be ``"opened"`` or ``"read"``."""
    return CheckpointError(
        f"The checkpoint {name!r} cannot be {done}: {getattr(error, 'strerror', None) or error}."
    )


def available_memory() -> int | None:
    """Bytes of memory that are free; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
