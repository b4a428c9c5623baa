"""The keys of many names at once: by the kernel where there is one, since a model has thousands."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from initcfg._stream.bits import kernel
from initcfg._stream.bits.key import FIRST, Keys

# Fewer take less time one by one.
_FEW = 8


def many_keys(keys: Keys, texts: Sequence[bytes]) -> array[int]:
    """The key of each name, in UTF-8, for part 0 and draw 0; see :func:`initcfg._stream.bits.stream_key`.

    Example:
        >>> from initcfg._stream.bits import Keys, stream_key
        >>> from initcfg._stream.bits.many_keys import many_keys
        >>> list(many_keys(Keys(0), [b"weight", b"bias"])) == [stream_key(0, "weight"), stream_key(0, "bias")]
        True
    """
    library = kernel.library() if len(texts) >= _FEW else None
    function = None if library is None else _checked(library)
    found = None if function is None else _by(function, keys, texts)
    return array("Q", [keys.of_text(text, FIRST) for text in texts]) if found is None else found


def _by(function: ctypes._NamedFuncPointer, keys: Keys, texts: Sequence[bytes]) -> array[int] | None:
    ends, found = array("Q", accumulate(map(len, texts))), array("Q", bytes(8 * len(texts)))
    head, (where, _), (into, _) = keys.head, ends.buffer_info(), found.buffer_info()
    code = function(head, len(head), FIRST, len(FIRST), b"".join(texts), where, len(texts), into)
    return None if code else found


@lru_cache(maxsize=1)
def _checked(library: ctypes.CDLL) -> ctypes._NamedFuncPointer | None:
    """The kernel's function, if there is one, and names of every length up to three blocks get their keys."""
    function = getattr(library, "initcfg_keys", None)
    if function is None:
        return None
    address, unsigned = ctypes.c_void_p, ctypes.c_uint64
    function.argtypes = (address, unsigned, address, unsigned, address, address, unsigned, address)
    function.restype = ctypes.c_int32
    keys, texts = Keys(0), [bytes(range(length)) for length in range(256)]
    right = [keys.of_text(text, FIRST) for text in texts]
    found = _by(function, keys, texts)
    return None if found is None or list(found) != right else function
