"""What files say of their own bytes: a streamed checkpoint holds a digest of each file's numbers.

SHA-256 is a chain, which one core computes and no two can share. So each 256 KiB of the numbers have one, and
the file has that of the list: what `split --bytes=256K --filter=sha256sum | sha256sum` prints of the bytes
after its header.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from initcfg._checkpoints import files_of, open_source
from initcfg._stream.bits import piece_digests
from initcfg._stream.writing import Pool, own_cores

DIGEST = "initcfg.sha256-256K"
"""In the metadata of a safetensors file: the digest of the bytes after its header, as 64 digits."""

_PIECE = 256 << 10
_BLOCK = 16 * _PIECE
_MOST_THREADS = 4


def digest_threads(asked: int | None = None) -> int:
    """How many threads compute digests, of those asked for or all cores: more would wait for the disk."""
    return min(own_cores() if asked is None else asked, _MOST_THREADS)


class NumbersDigest:
    """The digest of a file's numbers, which several threads may compute.

    Example:
        >>> from initcfg._apply.written_digests import NumbersDigest
        >>> digest, data = NumbersDigest(), bytes(1_000_000)
        >>> for first, last in digest.parts(0, len(data)):
        ...     digest.update(first, data[first:last])
        >>> digest.hexdigest()[:8]
        'f9c3b951'
    """

    def __init__(self) -> None:
        self._whole: dict[int, bytes] = {}
        self._begun: dict[int, hashlib._Hash] = {}

    @staticmethod
    def parts(place: int, length: int) -> Iterator[tuple[int, int]]:
        """Of so many bytes from a place on: from where to where they are pieces, or a part of one."""
        end = place + length
        first, last = place + -place % _PIECE, end - end % _PIECE
        marks = (place, first, last, end) if first <= last else (place, end)
        yield from ((mark, following) for mark, following in pairwise(marks) if mark < following)

    @staticmethod
    def in_order(place: int, length: int) -> bool:
        """Whether it is part of a piece, which comes after those before it; whole ones come in any order."""
        return bool(place % _PIECE or length % _PIECE)

    def update(self, place: int, data: bytes | memoryview) -> None:
        """Take one of the :meth:`parts`."""
        if self.in_order(place, len(data)):
            self._begun.setdefault(place // _PIECE, hashlib.sha256()).update(data)
            return
        for piece, found in enumerate(piece_digests(data, _PIECE), place // _PIECE):
            self._whole[piece] = found

    def hexdigest(self) -> str:
        """The digest, of all that was given."""
        found = {**self._whole, **{piece: each.digest() for piece, each in self._begun.items()}}
        lines = (f"{found[piece].hex()}  -\n" for piece in sorted(found))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_of(file: BinaryIO) -> str:
    """The digest of the numbers from where a file stands to its end."""
    digest, place, threads = NumbersDigest(), 0, digest_threads()
    with Pool(threads, "initcfg-digest") as pool:
        # No more of the file is in memory than the threads work at.
        working: deque[Future[None]] = deque()
        while data := memoryview(file.read(_BLOCK)):
            for first, last in digest.parts(place, len(data)):
                working.append(pool.submit(digest.update, first, data[first - place : last - place]))
            place += len(data)
            while len(working) > threads:
                working.popleft().result()
    return digest.hexdigest()


def changed_files(path: Path) -> tuple[str, ...]:
    """The names of the files of a checkpoint whose numbers are not those that were written.

    Args:
        path: A safetensors file, an index of such files, or their folder, opened before. A file that says
            nothing of its bytes is passed over, and so is one that lies beside and does not belong to it.

    Raises:
        CheckpointError: One of them is damaged.
    """
    files = (each for each in files_of(path) if each.suffix == ".safetensors")
    return tuple(each.name for each in sorted(files) if not _is_as_written(each))


def _is_as_written(path: Path) -> bool:
    with open_source(str(path)) as opened:
        said = opened.metadata.get(DIGEST)
    if said is None:
        return True
    with open(path, "rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return digest_of(file) == said
