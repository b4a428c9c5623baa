"""The bits: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
2011)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from initcfg.errors import PlanError

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_WORDS = 4

BLOCKS_AT_ONCE = 1 << 12
"""Small enough that the intermediate arrays stay in the second-level cache."""


def philox4x32(counter: npt.NDArray[np.uint64], key: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Ten rounds of Philox4x32: of four rows of counter words, one row of four words for each block."""
    word0, word1, word2, word3 = counter
    for step in range(ROUNDS):
        key0, key1 = (np.uint64((key[i] + step * KEY_STEPS[i]) & 0xFFFFFFFF) for i in (0, 1))
        # A product of two 32-bit words fits 64 bits: its high half mixes, its low half moves on.
        product0 = word0 * MULTIPLIERS[0]
        product1 = word2 * MULTIPLIERS[1]
        word0 = product1 >> _HALF
        word0 ^= word1
        word0 ^= key0
        word2 = product0 >> _HALF
        word2 ^= word3
        word2 ^= key1
        product1 &= _LOW
        product0 &= _LOW
        word1, word3 = product1, product0
    out = np.empty((counter.shape[1], _WORDS), dtype=np.uint32)
    for column, word in enumerate((word0, word1, word2, word3)):
        out[:, column] = word
    return out


def bits(key: int, start: int, count: int) -> npt.NDArray[np.uint32]:
    """The words [start, start + count) of a key: word ``i`` is word ``i & 3`` of block ``i >> 2``.

    Args:
        key: A 64-bit key, see :func:`stream_key`; its low half is the first key word.
        start: Index of the first word.
        count: How many.

    Raises:
        PlanError: the key is not a 64-bit integer, or the range is negative or reaches beyond 2⁶⁴.

    Example:
        >>> from initcfg._stream.bits import bits
        >>> [hex(word) for word in bits(0, 0, 2).tolist()]
        ['0x6627e8d5', '0xe169c58d']
    """
    check_range(key, start, count)
    out = np.empty(count, dtype=np.uint32)
    done = 0
    while done < count:
        block, skipped = divmod(start + done, _WORDS)
        blocks = min(BLOCKS_AT_ONCE, -(-(skipped + count - done) // _WORDS))
        index = np.arange(blocks, dtype=np.uint64) + np.uint64(block)
        words = _words_of(key, index).reshape(-1)[skipped : skipped + count - done]
        out[done : done + len(words)] = words
        done += len(words)
    return out


def words_at(key: int, index: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """The words of a key with the given numbers, in any order."""
    out = np.empty(len(index), dtype=np.uint32)
    for start in range(0, len(index), BLOCKS_AT_ONCE):
        some = index[start : start + BLOCKS_AT_ONCE]
        words = _words_of(key, some >> np.uint64(2))
        out[start : start + len(some)] = words[np.arange(len(some)), (some & np.uint64(3)).astype(np.intp)]
    return out


def _words_of(key: int, block: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """The four words of each block of a key."""
    counter = np.zeros((4, len(block)), dtype=np.uint64)
    np.bitwise_and(block, _LOW, out=counter[0])
    np.right_shift(block, _HALF, out=counter[1])
    return philox4x32(counter, (key & 0xFFFFFFFF, key >> 32))


def check_range(key: int, start: int, count: int) -> None:
    """Raise PlanError unless ``key`` has 64 bits and the words [start, start + count) exist."""
    if not 0 <= key < 1 << 64:
        raise PlanError(f"A key must be an integer from 0 to 2**64 - 1, not {key!r}.")
    if start < 0 or count < 0 or start + count > 1 << 64:
        raise PlanError(f"A key has the words 0 to 2**64 - 1, not {count} words from {start} on.")
