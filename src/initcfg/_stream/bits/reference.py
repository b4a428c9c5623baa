"""The maps from bits to numbers, in plain NumPy: the reference that every faster kernel must equal.

Each float32 operation is one NumPy operation, in the order of ``docs/stream.md``, so it is rounded by
itself; nothing is contracted. Blocks are made in pieces that fit the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from initcfg._stream.bits import gauss
from initcfg._stream.bits.philox import BLOCKS_AT_ONCE, bits, check_range, words_at
from initcfg._stream.bits.recipe import Kind, Recipe, normal_recipe, trunc_normal_recipe, uniform_recipe
from initcfg.errors import PlanError

Words = npt.NDArray[np.uint32]
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

_AT_ONCE = 4 * BLOCKS_AT_ONCE


def _singles(*constants: str) -> tuple[np.float32, ...]:
    return tuple(np.float32(float.fromhex(constant)) for constant in constants)


LOG2 = _singles(
    "0x1.2b803ep-1",
    "0x1.ec7072p-1",
    "-0x1.4853d8p-2",
    "0x1.23eecep-3",
    "-0x1.212292p-4",
    "0x1.31a776p-5",
    "-0x1.9b9f0ep-6",
    "0x1.efa09p-7",
)
ABOVE = _singles("-0x1.fa7590p+1", "-0x1.68d89ep+3", "0x1.700d02p+2", "0x1.09bc56p+3", "0x1.2d9958p+0")
BELOW = _singles("0x1.3c6564p+0", "0x1.f6aa88p+2", "0x1.c5c8bcp+2")
_HALF = np.float32(0.5)
_MIDDLE = np.float32(1.5)
_EXPONENT = np.float32(159.0)
_TO_UNIT = np.float32(2.0**-23)
_SIGN = np.uint32(0x80000000)


def uniform(
    key: int, start: int, count: int, a: float, b: float, *, dtype: npt.DTypeLike = np.float32
) -> Numbers:
    """Elements [start, start + count) of a tensor of U(a, b).

    Args:
        key: Key of the tensor, see :func:`stream_key`.
        start: Row-major index of the first element in the global tensor.
        count: How many elements.
        a: Lower bound.
        b: Upper bound; where it equals ``a``, every element is ``a``.
        dtype: float32, or float64.

    Raises:
        PlanError: a > b, a bound is not finite or does not fit the type, or the range is impossible.

    Example:
        >>> from initcfg._stream.bits import stream_key, uniform
        >>> uniform(stream_key(0, "weight"), 0, 2, -1.0, 1.0).tolist()
        [0.8354052901268005, -0.7838817238807678]
    """
    return drawn(uniform_recipe(a, b, _is_double(dtype)), key, start, count)


def normal(
    key: int, start: int, count: int, mean: float, std: float, *, dtype: npt.DTypeLike = np.float32
) -> Numbers:
    """Elements [start, start + count) of a tensor of N(mean, std²).

    Args:
        key: Key of the tensor, see :func:`stream_key`.
        start: Row-major index of the first element in the global tensor.
        count: How many elements.
        mean: Mean.
        std: Standard deviation; where it is 0, every element is ``mean``.
        dtype: float32, or float64.

    Raises:
        PlanError: std < 0, an argument is not finite or too large for the type, or the range is
            impossible.

    Example:
        >>> from initcfg._stream.bits import normal, stream_key
        >>> normal(stream_key(0, "weight"), 0, 2, 0.0, 0.02).tolist()
        [-0.004155487287789583, 0.005485281348228455]
    """
    return drawn(normal_recipe(mean, std, _is_double(dtype)), key, start, count)


def trunc_normal(
    key: int,
    start: int,
    count: int,
    mean: float,
    std: float,
    a: float,
    b: float,
    *,
    dtype: npt.DTypeLike = np.float32,
) -> Numbers:
    """Elements [start, start + count) of a tensor of N(mean, std²) given that it lies in [a, b].

    Args:
        key: Key of the tensor, see :func:`stream_key`.
        start: Row-major index of the first element in the global tensor.
        count: How many elements.
        mean: Mean of the normal distribution before it is cut.
        std: Its standard deviation; where it is 0, every element is the point of [a, b] next to
            ``mean``.
        a: Lower bound, an absolute value, not sigmas; minus infinity for none.
        b: Upper bound; where it equals ``a``, every element is ``a``; infinity for none.
        dtype: float32, or float64.

    Raises:
        PlanError: a > b, std < 0, mean or std is not finite or too large for the type, a bound excludes
            everything, or the range is impossible.

    Example:
        >>> from initcfg._stream.bits import stream_key, trunc_normal
        >>> trunc_normal(stream_key(0, "weight"), 0, 2, 0.0, 0.02, -0.04, 0.04).tolist()
        [-0.0039638555608689785, 0.005229788366705179]
    """
    return drawn(trunc_normal_recipe(mean, std, a, b, _is_double(dtype)), key, start, count)


def _is_double(dtype: npt.DTypeLike) -> bool:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise PlanError(
            f"The stream makes float32 and float64, not {np.dtype(dtype).name}.",
            fix="Make float32 and round it once.",
        )
    return np.dtype(dtype) == np.float64


def drawn(recipe: Recipe, key: int, start: int, count: int) -> Numbers:
    """Elements [start, start + count) by a recipe: float32 from one word of each, float64 from two."""
    words_each = 2 if recipe.double else 1
    check_range(key, words_each * start, words_each * count)
    if recipe.kind is Kind.BITS:
        return bits(key, start, count)
    kind = np.float64 if recipe.double else np.float32
    if recipe.kind is Kind.CONSTANT:
        return np.full(count, recipe.numbers[0], dtype=kind)
    out = np.empty(count, dtype=kind)
    for done in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - done)
        out[done : done + size] = _mapped(recipe, bits(key, words_each * (start + done), words_each * size))
    return out


def drawn_at(recipe: Recipe, key: int, index: npt.NDArray[np.uint64]) -> Numbers:
    """The elements with the given row-major indices in the global tensor, in any order."""
    if recipe.kind is Kind.CONSTANT:
        return np.full(len(index), recipe.numbers[0], dtype=np.float64 if recipe.double else np.float32)
    if recipe.double:
        index = np.stack([index * np.uint64(2), index * np.uint64(2) + np.uint64(1)], axis=1).reshape(-1)
    return _mapped(recipe, words_at(key, index))


def _mapped(recipe: Recipe, words: Words) -> Numbers:
    """Words as numbers: two words for a float64, one for a float32."""
    if recipe.double:
        # From two words each, the lower half first: 52 bits, in the middle of their interval.
        pairs = words.astype(np.uint64)
        whole = ((pairs[1::2] << np.uint64(32)) | pairs[::2]) >> np.uint64(12)
        return _clamped(_double(recipe, (whole.astype(np.float64) + 0.5) * 2.0**-52), recipe)
    if recipe.kind in (Kind.UNIFORM, Kind.NORMAL, Kind.CUT):
        return _clamped(_single(recipe, words), recipe)
    probability = (words.astype(np.float64) + 0.5) * 2.0**-32
    return _clamped(_double(recipe, probability).astype(np.float32), recipe)


def _single(recipe: Recipe, words: Words) -> Singles:
    """Float32 numbers, each from one word."""
    middle, spread = (np.float32(number) for number in recipe.numbers)
    if recipe.kind is Kind.UNIFORM:
        return middle + spread * (((words.view(np.int32) >> 8).astype(np.float32) + _HALF) * _TO_UNIT)
    if recipe.kind is Kind.CUT:
        scaled = (words.astype(np.uint64) * np.uint64(recipe.width)) >> np.uint64(32)
        words = (scaled + np.uint64(recipe.first)).astype(np.uint32)
    return middle + spread * _standard_normal(words)


def _double(recipe: Recipe, probability: Doubles) -> Doubles:
    """Float64 numbers, each from a probability."""
    numbers = recipe.numbers
    if recipe.kind is Kind.UNIFORM:
        return numbers[0] + numbers[1] * (2.0 * probability - 1.0)
    if recipe.kind is Kind.FLAT:
        return numbers[0] + numbers[1] * probability
    if recipe.kind is Kind.BOTH:
        mean, std, below, above, mass = numbers
        lower, upper = below + mass * probability, above + mass * (1.0 - probability)
        size = gauss.into_tail(0.0, np.minimum(2.0 * np.minimum(lower, upper), 1.0))
        return mean + std * np.where(lower < upper, -size, size)
    anchor, std, start, share = numbers
    if recipe.kind is Kind.UPPER:
        return anchor + std * gauss.into_tail(start, 1.0 - probability * share)
    return anchor - std * gauss.into_tail(start, 1.0 - (1.0 - probability) * share)


def _clamped(numbers: Numbers, recipe: Recipe) -> Numbers:
    if recipe.kind is Kind.NORMAL or recipe.high == np.inf:
        return numbers
    held = np.clip(numbers, numbers.dtype.type(recipe.low), numbers.dtype.type(recipe.high))
    # What equals a bound is the bound, the upper one last; which zero NumPy gives there, it does not say.
    for bound in (recipe.low, recipe.high):
        if bound == 0.0:
            held[held == 0.0] = bound
    return held


def _standard_normal(words: Words) -> Singles:
    """The inverse of the normal distribution function at (word + ½)·2⁻³², in float32."""
    signed = words.view(np.int32)
    folded = (signed ^ (signed >> 31)).astype(np.float32) + _HALF
    pattern = folded.view(np.uint32)
    exponent = _EXPONENT - (pattern >> np.uint32(23)).astype(np.float32)
    pattern = (pattern & np.uint32(0x007FFFFF)) | np.uint32(0x3F800000)
    y = pattern.view(np.float32) - _MIDDLE
    y2 = y * y
    mantissa = ((LOG2[0] + y * LOG2[1]) + y2 * (LOG2[2] + y * LOG2[3])) + (y2 * y2) * (
        (LOG2[4] + y * LOG2[5]) + y2 * (LOG2[6] + y * LOG2[7])
    )
    t = np.sqrt(exponent - mantissa)
    t2 = t * t
    above = (ABOVE[0] + t * ABOVE[1]) + t2 * (ABOVE[2] + t * (ABOVE[3] + t * ABOVE[4]))
    z = above / ((BELOW[0] + t * BELOW[1]) + t2 * (t + BELOW[2]))
    # A word below 2³¹ is the lower half: its z changes sign, which flips the highest bit.
    pattern = z.view(np.uint32)
    pattern ^= ~words & _SIGN
    return z
