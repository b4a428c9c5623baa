"""The key of a tensor: a hash of everything that its numbers depend on, but the index."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from typing import Any

from initcfg.errors import PlanError

STREAM_VERSION = 1
"""Changing any bit of the stream is a new version."""


def stream_key(seed: int, name: str, part: int = 0, draw: int = 0) -> int:
    """The 64-bit key of one tensor, or of one part of a fused tensor.

    The fields (version, seed, name, part, draw) are written one after the other, each as its length in
    bytes (8 bytes, little endian) and then its bytes: an integer as 8 bytes, little endian, the name in
    UTF-8. The key is the first 8 bytes of their 64-byte BLAKE2b digest, little endian.

    Args:
        seed: The seed, an integer in [0, 2⁶⁴).
        name: The canonical name of the parameter.
        part: Which of the independent parts of a fused tensor, in [0, 2⁶⁴).
        draw: Which draw, for a tensor that needs more than one, in [0, 2⁶⁴).

    Raises:
        PlanError: an integer is out of its range, or the name cannot be written in UTF-8.

    Example:
        >>> from initcfg._stream.bits import stream_key
        >>> hex(stream_key(0, "backbone.conv1.weight"))
        '0x3e0e9ee8b07a10'
    """
    return Keys(seed)(name, part, draw)


class Keys:
    """The keys of one seed; see :func:`stream_key`."""

    def __init__(self, seed: int) -> None:
        self.head = _VERSION + _EIGHT + seed_number(seed).to_bytes(8, "little")
        """What stands before the name."""

    def __call__(self, name: str, part: int = 0, draw: int = 0) -> int:
        """The key of one tensor, or of one part of a fused tensor."""
        tail = FIRST if part == draw == 0 else _integer_field("part", part) + _integer_field("draw", draw)
        return self.of_text(name_text(name), tail)

    def of_text(self, text: bytes, tail: bytes) -> int:
        """The key of a name in UTF-8; ``tail`` is what stands behind it."""
        fields = self.head + len(text).to_bytes(8, "little") + text + tail
        return int.from_bytes(hashlib.blake2b(fields).digest()[:8], "little")


def name_text(name: str) -> bytes:
    """The name of a tensor in UTF-8.

    Raises:
        PlanError: It cannot be written so.
    """
    try:
        return name.encode("utf-8")
    except (AttributeError, UnicodeEncodeError) as error:
        raise PlanError(f"The name of a tensor must be text that UTF-8 can hold, not {name!r}.") from error


def name_texts(names: Sequence[str]) -> list[bytes]:
    """The same of many names."""
    try:
        return list(map(str.encode, names))
    except (TypeError, UnicodeEncodeError):
        return list(map(name_text, names))


def seed_number(seed: Any) -> int:
    """A seed as an integer: also NumPy's, and a tensor that holds one; no bool, which is a slip.

    Raises:
        PlanError: It is none from 0 to 2⁶⁴ - 1.

    Example:
        >>> import numpy
        >>> from initcfg._stream.bits import seed_number
        >>> seed_number(numpy.int64(3))
        3
    """
    if type(seed) is int and 0 <= seed < 1 << 64:
        return seed
    is_bool = isinstance(seed, bool) or str(getattr(seed, "dtype", "")) in ("bool", "torch.bool")
    try:
        number = -1 if is_bool else operator.index(seed)
    except (TypeError, ValueError, RuntimeError):
        number = -1
    if not 0 <= number < 1 << 64:
        raise PlanError(
            f"The seed must be an integer from 0 to 2**64 - 1, not {repr(seed)[:80]}.",
            fix="Give a seed in that range, such as 0.",
        )
    return int(number)


def _integer_field(what: str, number: Any) -> bytes:
    try:
        return _EIGHT + operator.index(number).to_bytes(8, "little")
    except (TypeError, OverflowError) as error:
        raise PlanError(
            f"The {what} must be an integer from 0 to 2**64 - 1, not {number!r}.",
            fix=f"Give a {what} in that range, such as 0.",
        ) from error


_EIGHT = (8).to_bytes(8, "little")
_VERSION = _integer_field("version", STREAM_VERSION)
FIRST = 2 * (_EIGHT + bytes(8))
"""What stands behind the name of part 0 and draw 0."""
