"""The reference's float32 numbers again, without new memory for each step: for where there is no kernel.

The operations are those of `philox.py` and `reference.py`, in the same order, written into arrays that stay
in the cache. Only runs of elements are drawn here; what is rare is left to the reference.
"""

from __future__ import annotations

import sys

import numpy as np

from initcfg._stream.bits.philox import KEY_STEPS, MULTIPLIERS, ROUNDS, check_range
from initcfg._stream.bits.recipe import Kind, Recipe
from initcfg._stream.bits.reference import ABOVE, BELOW, LOG2, Singles, Words

# Blocks at a time: more do not fit the cache beside each other, fewer cost a call for little work.
_BLOCKS = 1 << 14
AT_ONCE = 4 * _BLOCKS
"""Elements at a time."""

_LOW, _BITS = np.uint64(0xFFFFFFFF), np.uint64(32)
_HALF, _MIDDLE, _EXPONENT = np.float32(0.5), np.float32(1.5), np.float32(159.0)
_TO_UNIT = np.float32(2.0**-23)
_SIGN = np.uint32(0x80000000)
_LITTLE = sys.byteorder == "little"


def draws(recipe: Recipe) -> bool:
    """Whether numbers of that recipe are drawn here."""
    return not recipe.double and recipe.kind in (Kind.UNIFORM, Kind.NORMAL, Kind.CUT)


class Scratch:
    """The arrays of one thread."""

    def __init__(self) -> None:
        self._wide = tuple(np.empty(_BLOCKS, dtype=np.uint64) for _ in range(6))
        self._singles = tuple(np.empty(AT_ONCE, dtype=np.float32) for _ in range(5))
        self._numbers = np.arange(_BLOCKS, dtype=np.uint64)
        self._words = np.empty((_BLOCKS, 4), dtype=np.uint32)

    def draw(self, recipe: Recipe, key: int, start: int, out: Singles) -> None:
        """Elements from ``start`` on into an array of any length."""
        check_range(key, start, len(out))
        done = 0
        while done < len(out):
            block, skipped = divmod(start + done, 4)
            # The upper half of a block's number is the same for all of them.
            most = min(AT_ONCE, 4 * ((1 << 32) - (block & 0xFFFFFFFF)))
            some = min(most - skipped, len(out) - done)
            words = self._drawn_words(key, block, -(-(skipped + some) // 4))[skipped : skipped + some]
            self._map(recipe, words, out[done : done + some])
            done += some

    def _drawn_words(self, key: int, number: int, blocks: int) -> Words:
        """The words of some blocks, as `philox4x32` makes them; their numbers have one upper half."""
        word0, word1, word2, word3, product0, product1 = (each[:blocks] for each in self._wide)
        keys = [
            [((key >> 32 * i) + step * KEY_STEPS[i]) & 0xFFFFFFFF for i in (0, 1)] for step in range(ROUNDS)
        ]
        # The words 2 and 3 of a counter are zero, and word 1 is the same here: so is all that follows of them
        # alone, which is one number in the first rounds.
        np.add(self._numbers[:blocks], np.uint64(number & 0xFFFFFFFF), out=word0)
        np.multiply(word0, MULTIPLIERS[0], out=product0)
        np.right_shift(product0, _BITS, out=word2)
        np.bitwise_xor(word2, np.uint64(keys[0][1]), out=word2)
        np.bitwise_and(product0, _LOW, out=word3)
        same = int(MULTIPLIERS[0]) * ((number >> 32) ^ keys[0][0])
        np.multiply(word2, MULTIPLIERS[1], out=product1)
        np.right_shift(product1, _BITS, out=word0)
        np.bitwise_xor(word0, np.uint64(keys[1][0]), out=word0)
        np.bitwise_xor(word3, np.uint64((same >> 32) ^ keys[1][1]), out=word2)
        np.bitwise_and(product1, _LOW, out=word1)
        last = np.uint64((same & 0xFFFFFFFF) ^ keys[2][1])
        for step in range(2, ROUNDS):
            key0, key1 = (np.uint64(each) for each in keys[step])
            np.multiply(word0, MULTIPLIERS[0], out=product0)
            np.multiply(word2, MULTIPLIERS[1], out=product1)
            np.right_shift(product1, _BITS, out=word0)
            np.bitwise_xor(word0, word1, out=word0)
            np.bitwise_xor(word0, key0, out=word0)
            np.right_shift(product0, _BITS, out=word2)
            if step > 2:
                np.bitwise_xor(word2, word3, out=word2)
            np.bitwise_xor(word2, last if step == 2 else key1, out=word2)
            if step < ROUNDS - 1 or not _LITTLE:
                np.bitwise_and(product1, _LOW, out=product1)
                np.bitwise_and(product0, _LOW, out=product0)
            # What was a word is where the next product goes.
            word1, product1 = product1, word1
            word3, product0 = product0, word3
        # Two words beside each other are written as one of 64 bits: which is its low half depends on the
        # machine. What a shift to the left pushes out need not be cleared before.
        pairs = self._words[:blocks].view(np.uint64)
        for column, (first, second) in enumerate(((word0, word1), (word2, word3))):
            low, high = (first, second) if _LITTLE else (second, first)
            np.left_shift(high, _BITS, out=high)
            np.bitwise_or(low, high, out=pairs[:, column])
        return self._words[:blocks].reshape(-1)

    def _map(self, recipe: Recipe, words: Words, out: Singles) -> None:
        """Words into numbers."""
        middle, spread = (np.float32(number) for number in recipe.numbers)
        numbers = self._singles[0][: len(words)]
        if recipe.kind is Kind.UNIFORM:
            signed = words.view(np.int32)
            np.right_shift(signed, 8, out=signed)
            np.copyto(numbers, signed, casting="unsafe")
            numbers += _HALF
            numbers *= _TO_UNIT
            numbers *= spread
        else:
            if recipe.kind is Kind.CUT:
                self._cut(recipe, words)
            self._opposite_of_normal(words)
            numbers *= -spread
        np.add(numbers, middle, out=out)
        if recipe.kind is not Kind.NORMAL and recipe.high != np.inf:
            _clamp(out, recipe)

    def _cut(self, recipe: Recipe, words: Words) -> None:
        """Words into those that a truncation leaves."""
        wide = self._wide[0]
        for start in range(0, len(words), _BLOCKS):
            some = words[start : start + _BLOCKS]
            scaled = wide[: len(some)]
            np.multiply(some, np.uint64(recipe.width), out=scaled, dtype=np.uint64)
            np.right_shift(scaled, _BITS, out=scaled)
            np.add(scaled, np.uint64(recipe.first), out=scaled)
            np.copyto(some, scaled, casting="unsafe")

    def _opposite_of_normal(self, words: Words) -> None:
        """The inverse of the normal distribution function, step by step as `reference.py` has it; times -1.

        A sign changes nothing else of a number, nor of its products.
        """
        z, y, y2, u, t = (each[: len(words)] for each in self._singles)
        signed, folded = words.view(np.int32), z.view(np.int32)
        np.right_shift(signed, 31, out=folded)
        np.bitwise_xor(folded, signed, out=folded)
        np.copyto(u, folded, casting="unsafe")
        u += _HALF
        pattern = u.view(np.uint32)
        np.right_shift(pattern, np.uint32(23), out=z.view(np.uint32))
        np.copyto(t, z.view(np.int32), casting="unsafe")
        np.subtract(_EXPONENT, t, out=t)
        pattern &= np.uint32(0x007FFFFF)
        pattern |= np.uint32(0x3F800000)
        np.subtract(u, _MIDDLE, out=y)
        np.multiply(y, y, out=y2)
        _line(z, y, LOG2[6], LOG2[7])
        z *= y2
        _line(u, y, LOG2[4], LOG2[5])
        z += u
        np.multiply(y2, y2, out=u)
        z *= u
        _line(u, y, LOG2[2], LOG2[3])
        u *= y2
        _line(y, y, LOG2[0], LOG2[1])
        y += u
        y += z
        t -= y
        np.sqrt(t, out=t)
        np.multiply(t, t, out=y2)
        _line(z, t, ABOVE[3], ABOVE[4])
        z *= t
        z += ABOVE[2]
        z *= y2
        _line(u, t, ABOVE[0], ABOVE[1])
        z += u
        np.add(t, BELOW[2], out=y)
        y *= y2
        _line(t, t, BELOW[0], BELOW[1])
        t += y
        z /= t
        # A word below 2³¹ is the lower half, whose z changes sign; here it is the other that does.
        sign = y.view(np.uint32)
        np.bitwise_and(words, _SIGN, out=sign)
        pattern = z.view(np.uint32)
        pattern ^= sign


def _line(out: Singles, at: Singles, first: np.float32, slope: np.float32) -> None:
    """``first + at * slope``; sums and products do not depend on the order of two."""
    np.multiply(at, slope, out=out)
    out += first


def _clamp(numbers: Singles, recipe: Recipe) -> None:
    np.clip(numbers, np.float32(recipe.low), np.float32(recipe.high), out=numbers)
    # As in the reference: what equals a bound is the bound, the upper one last.
    for bound in (recipe.low, recipe.high):
        if bound == 0.0:
            numbers[numbers == 0.0] = bound
