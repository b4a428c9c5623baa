"""A file that is being fetched, while it is written."""

from __future__ import annotations

import hashlib
import os
import shutil
from types import TracebackType
from typing import BinaryIO

from initcfg._checkpoints.sources.store import Store
from initcfg.errors import CheckpointError

_BLOCK = 1 << 20


class Part:
    """The unfinished file of a store, opened to append to.

    When the ``with`` block ends well, all of it is on the disk.

    Args:
        store: The store.
        total: The size of the whole, if it is known.
        offset: How much of it is there, and stays.

    Raises:
        CheckpointError: There is no room, or the cache cannot be written.
    """

    def __init__(self, store: Store, total: int | None, offset: int = 0) -> None:
        self._store = store
        self._offset = offset
        self._hash = hashlib.sha256()
        self.total = total
        self.size = 0

    @property
    def digest(self) -> str:
        """The digest of what is there, including what was there before."""
        return self._hash.hexdigest()

    def __enter__(self) -> Part:
        self._check_room()
        try:
            # Unbuffered, so that an error of the disk comes where the block is written.
            self._file = open(self._store.partial, "r+b" if self._offset else "wb", buffering=0)
            while self.size < self._offset and (
                block := self._file.read(min(_BLOCK, self._offset - self.size))
            ):
                self._took(block)
        except OSError as error:
            raise self._store.cannot_write(error) from error
        return self

    def append(self, block: bytes) -> None:
        """Write the next bytes."""
        try:
            write(self._file, block)
        except OSError as error:
            raise self._store.cannot_write(error) from error
        self._took(block)

    def _took(self, block: bytes) -> None:
        self._hash.update(block)
        self.size += len(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
        except OSError as problem:
            raise self._store.cannot_write(problem) from problem
        finally:
            self._file.close()

    def _check_room(self) -> None:
        if self.total is None:
            return
        free = shutil.disk_usage(self._store.home).free
        if self.total - self._offset > free:
            self._store.drop_partial()
            raise CheckpointError(
                f"The checkpoint {self._store.origin!r} has {self.total:,} bytes, and "
                f"{str(self._store.home)!r} has room for {free:,}.",
                fix="Make room, or let INITCFG_HOME name a folder on a larger disk.",
            )


def write(file: BinaryIO, block: bytes) -> None:
    """Write all of a block; a function of its own, so that tests can fill the disk."""
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
