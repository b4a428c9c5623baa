"""SHA-256 of many pieces: by the kernel where it can, which takes four at a time and so less of a core."""

from __future__ import annotations

import ctypes
import hashlib
from functools import lru_cache

import numpy as np

from initcfg._stream.bits import kernel
from initcfg.errors import ApplyError

_BYTES = 32
# What the kernel takes is a multiple of this.
_BLOCK = 64


def piece_digests(data: bytes | memoryview, length: int) -> list[bytes]:
    """The SHA-256 of each ``length`` bytes, which the data are a multiple of.

    Example:
        >>> from initcfg._stream.bits.piece_digests import piece_digests
        >>> [each.hex()[:8] for each in piece_digests(bytes(128), 64)]
        ['f5a5fd42', 'f5a5fd42']
    """
    count, rest = divmod(len(data), length)
    if rest:
        raise ApplyError(f"{len(data)} bytes are not pieces of {length} bytes.")
    digest = None if length % _BLOCK else _by_kernel()
    if digest is None or not count:
        return [
            hashlib.sha256(data[first : first + length]).digest() for first in range(0, len(data), length)
        ]
    numbers = np.frombuffer(data, dtype=np.uint8)
    found = ctypes.create_string_buffer(_BYTES * count)
    digest(numbers.ctypes.data, length, count, found)
    return [found.raw[first : first + _BYTES] for first in range(0, _BYTES * count, _BYTES)]


def _by_kernel() -> ctypes._NamedFuncPointer | None:
    library = kernel.library()
    return None if library is None else _checked(library)


@lru_cache(maxsize=1)
def _checked(library: ctypes.CDLL) -> ctypes._NamedFuncPointer | None:
    """The kernel's function, if there is one, it runs here, and seven pieces get the right digests."""
    digest = getattr(library, "initcfg_sha256", None)
    if digest is None:
        return None
    digest.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
    digest.restype = ctypes.c_int32
    data, length = bytes(range(224)) * 4, 128
    pieces = [data[first : first + length] for first in range(0, len(data), length)]
    found = ctypes.create_string_buffer(_BYTES * len(pieces))
    if digest(data, length, len(pieces), found):
        return None
    return digest if found.raw == b"".join(hashlib.sha256(each).digest() for each in pieces) else None
