"""The maps from bits to numbers, in plain NumPy: the reference that every faster kernel must equal.

Each float32 operation is one NumPy operation, in the order of ``docs/stream.md``, so it is rounded by
itself; nothing is contracted. Blocks are made in pieces that fit the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from initcfg._random import gauss
from initcfg._random.philox import BLOCKS_AT_ONCE, bits, check_range
from initcfg.errors import PlanError

Words = npt.NDArray[np.uint32]
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

_PIECE = 4 * BLOCKS_AT_ONCE
_SMALLEST_COARSE_WIDTH = 1 << 24
_LARGEST = 2.0**1000


def _singles(*constants: str) -> tuple[np.float32, ...]:
    return tuple(np.float32(float.fromhex(constant)) for constant in constants)


_LOG2 = _singles(
    "0x1.2b803ep-1",
    "0x1.ec7072p-1",
    "-0x1.4853d8p-2",
    "0x1.23eecep-3",
    "-0x1.212292p-4",
    "0x1.31a776p-5",
    "-0x1.9b9f0ep-6",
    "0x1.efa09p-7",
)
_ABOVE = _singles("-0x1.fa7590p+1", "-0x1.68d89ep+3", "0x1.700d02p+2", "0x1.09bc56p+3", "0x1.2d9958p+0")
_BELOW = _singles("0x1.3c6564p+0", "0x1.f6aa88p+2", "0x1.c5c8bcp+2")
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
        >>> from initcfg._random import stream_key, uniform
        >>> uniform(stream_key(0, "weight"), 0, 2, -1.0, 1.0).tolist()
        [0.8354052901268005, -0.7838817238807678]
    """
    kind = _float_type(dtype)
    _check_bounds(a, b)
    _check_fits(kind, "a", a)
    _check_fits(kind, "b", b)
    low, high = _inside(kind, a, b)
    middle = kind(0.5 * a + 0.5 * b)
    half = kind(0.5 * b - 0.5 * a)

    def single(words: Words) -> Singles:
        unit = ((words.view(np.int32) >> 8).astype(np.float32) + _HALF) * _TO_UNIT
        return np.clip(middle + half * unit, low, high)

    def double(probability: Doubles) -> Doubles:
        return np.clip(middle + half * (2.0 * probability - 1.0), low, high)

    return _filled(key, start, count, kind, single=single, double=double)


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
        >>> from initcfg._random import normal, stream_key
        >>> normal(stream_key(0, "weight"), 0, 2, 0.0, 0.02).tolist()
        [-0.004155487287789583, 0.005485281348228455]
    """
    kind = _float_type(dtype)
    _check_spread(kind, mean, std)
    center, spread = kind(mean), kind(std)

    def single(words: Words) -> Singles:
        return center + spread * _standard_normal(words)

    def double(probability: Doubles) -> Doubles:
        return center + spread * _from_both_tails(probability, 1.0 - probability)

    return _filled(key, start, count, kind, single=single, double=double)


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
        a: Lower bound, an absolute value, not sigmas.
        b: Upper bound; where it equals ``a``, every element is ``a``.
        dtype: float32, or float64.

    Raises:
        PlanError: a > b, std < 0, an argument is not finite or too large for the type, or the range
            is impossible.

    Example:
        >>> from initcfg._random import stream_key, trunc_normal
        >>> trunc_normal(stream_key(0, "weight"), 0, 2, 0.0, 0.02, -0.04, 0.04).tolist()
        [-0.0039638555608689785, 0.005229788366705179]
    """
    kind = _float_type(dtype)
    _check_spread(kind, mean, std)
    _check_bounds(a, b)
    low, high = _inside(kind, a, b)
    if std == 0.0 or a == b:
        _check_range(kind, key, start, count)
        return np.full(count, np.clip(kind(mean), low, high), dtype=kind)
    first, width = truncation_integers(mean, std, a, b)
    center, spread = kind(mean), kind(std)

    def coarse(words: Words) -> Singles:
        scaled = (words.astype(np.uint64) * np.uint64(width)) >> np.uint64(32)
        cut = (scaled + np.uint64(first)).astype(np.uint32)
        return np.clip(center + spread * _standard_normal(cut), low, high)

    def fine(probability: Doubles) -> Doubles:
        return _truncated(probability, mean, std, a, b)

    def fine_single(words: Words) -> Singles:
        probability = (words.astype(np.float64) + 0.5) * 2.0**-32
        return np.clip(fine(probability).astype(np.float32), low, high)

    def double(probability: Doubles) -> Doubles:
        return np.clip(fine(probability), low, high)

    single = coarse if width >= _SMALLEST_COARSE_WIDTH else fine_single
    return _filled(key, start, count, kind, single=single, double=double)


def truncation_integers(mean: float, std: float, a: float, b: float) -> tuple[int, int]:
    """The first word and the number of words (at most 2³² − 1) that [a, b] keeps of a normal's 2³².

    Args:
        mean: Mean of the normal distribution before it is cut.
        std: Its standard deviation, above 0.
        a: Lower bound.
        b: Upper bound.

    Returns:
        ``round(Φ(α)·2³²)``, and how many words lie below ``round(Φ(β)·2³²)`` from there, where α and β
        are the bounds in sigmas. Below 2²⁴ words, a truncated normal is made in float64 instead.

    Raises:
        PlanError: std is not above 0, a > b, or an argument is not finite.

    Example:
        >>> from initcfg._random import truncation_integers
        >>> truncation_integers(0.0, 0.02, -2.0, 2.0)
        (0, 4294967295)
    """
    _check_spread(np.float64, mean, std)
    _check_bounds(a, b)
    if std == 0.0:
        raise PlanError("A normal distribution with std 0 has no probabilities to cut.")
    first, last = (round(gauss.normal_cdf(_sigmas(bound, mean, std)) * 2.0**32) for bound in (a, b))
    return first, min(last - first, (1 << 32) - 1)


# -- the maps ------------------------------------------------------------------------------------


def _standard_normal(words: Words) -> Singles:
    """The inverse of the normal distribution function at (word + ½)·2⁻³², in float32."""
    signed = words.view(np.int32)
    folded = (signed ^ (signed >> 31)).astype(np.float32) + _HALF
    pattern = folded.view(np.uint32)
    exponent = _EXPONENT - (pattern >> np.uint32(23)).astype(np.float32)
    pattern = (pattern & np.uint32(0x007FFFFF)) | np.uint32(0x3F800000)
    y = pattern.view(np.float32) - _MIDDLE
    y2 = y * y
    mantissa = ((_LOG2[0] + y * _LOG2[1]) + y2 * (_LOG2[2] + y * _LOG2[3])) + (y2 * y2) * (
        (_LOG2[4] + y * _LOG2[5]) + y2 * (_LOG2[6] + y * _LOG2[7])
    )
    t = np.sqrt(exponent - mantissa)
    t2 = t * t
    above = (_ABOVE[0] + t * _ABOVE[1]) + t2 * (_ABOVE[2] + t * (_ABOVE[3] + t * _ABOVE[4]))
    z = above / ((_BELOW[0] + t * _BELOW[1]) + t2 * (t + _BELOW[2]))
    # A word below 2³¹ is the lower half: its z changes sign, which flips the highest bit.
    pattern = z.view(np.uint32)
    pattern ^= ~words & _SIGN
    return z


def _from_both_tails(below: Doubles, above: Doubles) -> Doubles:
    """The standard normal point with the given probabilities below and above it, in float64."""
    size = gauss.into_tail(0.0, np.minimum(2.0 * np.minimum(below, above), 1.0))
    return np.where(below < above, -size, size)


def _truncated(probability: Doubles, mean: float, std: float, a: float, b: float) -> Doubles:
    """The inverse of the truncated normal's distribution function, in float64."""
    alpha, beta, width = _sigmas(a, mean, std), _sigmas(b, mean, std), _sigmas(b, a, std)
    if width * max(abs(alpha), abs(beta)) <= 2.0**-24:
        return a + (b - a) * probability  # the density is flat here, to within float32
    if alpha >= gauss.ENDLESS:
        return np.full_like(probability, a)
    if -beta >= gauss.ENDLESS:
        return np.full_like(probability, b)
    if alpha >= 0.0:
        share = gauss.tail_share(alpha, width)
        return a + std * gauss.into_tail(alpha, 1.0 - probability * share)
    if beta <= 0.0:
        share = gauss.tail_share(-beta, width)
        return b - std * gauss.into_tail(-beta, 1.0 - (1.0 - probability) * share)
    below, above = gauss.normal_cdf(alpha), gauss.normal_cdf(-beta)
    mass = (1.0 - below) - above
    return mean + std * _from_both_tails(below + mass * probability, above + mass * (1.0 - probability))


def _sigmas(to: float, origin: float, std: float) -> float:
    """``(to − origin) / std``, held within ±2⁵⁰⁰, where squares and products are still finite."""
    distance = to - origin
    if abs(distance) >= std * 2.0**500:
        return math.copysign(2.0**500, distance)
    return distance / std


def _filled(
    key: int,
    start: int,
    count: int,
    kind: type[np.floating[Any]],
    *,
    single: Callable[[Words], Numbers],
    double: Callable[[Doubles], Numbers],
) -> Numbers:
    """Piece by piece: float32 from one word of each element, float64 from two."""
    _check_range(kind, key, start, count)
    out = np.empty(count, dtype=kind)
    for done in range(0, count, _PIECE):
        size = min(_PIECE, count - done)
        if kind is np.float32:
            out[done : done + size] = single(bits(key, start + done, size))
        else:
            pairs = bits(key, 2 * (start + done), 2 * size).astype(np.uint64)
            whole = ((pairs[1::2] << np.uint64(32)) | pairs[::2]) >> np.uint64(12)
            out[done : done + size] = double((whole.astype(np.float64) + 0.5) * 2.0**-52)
    return out


# -- checks --------------------------------------------------------------------------------------


def _float_type(dtype: npt.DTypeLike) -> type[np.floating[Any]]:
    for kind in (np.float32, np.float64):
        if np.dtype(dtype) == kind:
            return kind
    raise PlanError(
        f"The stream makes float32 and float64, not {np.dtype(dtype).name}.",
        mend="Make float32 and round it once.",
    )


def _check_range(kind: type[np.floating[Any]], key: int, start: int, count: int) -> None:
    words_each = 1 if kind is np.float32 else 2
    check_range(key, words_each * start, words_each * count)


def _check_finite(**arguments: float) -> None:
    for name, number in arguments.items():
        if not abs(number) <= _LARGEST:
            raise PlanError(
                f"The argument {name} must be finite and at most 2**1000 in size, not {number!r}."
            )


def _check_bounds(a: float, b: float) -> None:
    _check_finite(a=a, b=b)
    if a > b:
        raise PlanError(
            f"The lower bound a={a!r} is above the upper bound b={b!r}.", mend="Exchange a and b."
        )


def _check_fits(kind: type[np.floating[Any]], name: str, number: float) -> None:
    if abs(number) > float(np.finfo(kind).max):
        raise PlanError(f"The argument {name}={number!r} does not fit {np.dtype(kind).name}.")


def _check_spread(kind: type[np.floating[Any]], mean: float, std: float) -> None:
    _check_finite(mean=mean, std=std)
    if std < 0.0:
        raise PlanError(f"The standard deviation must not be negative, but std={std!r}.")
    # No draw lies nine sigmas out, so none can overflow.
    if abs(mean) + 9.0 * std > float(np.finfo(kind).max):
        raise PlanError(f"Draws with mean={mean!r} and std={std!r} do not fit {np.dtype(kind).name}.")


def _inside(kind: type[np.floating[Any]], a: float, b: float) -> tuple[np.floating[Any], np.floating[Any]]:
    """The smallest and the largest number of the type in [a, b]; where there is none, the nearest."""
    largest = float(np.finfo(kind).max)
    if a > largest or b < -largest:
        raise PlanError(f"The bounds a={a!r} and b={b!r} leave no {np.dtype(kind).name}.")
    low, high = kind(max(a, -largest)), kind(min(b, largest))
    if float(low) < a:
        low = np.nextafter(low, kind(np.inf))
    if float(high) > b:
        high = np.nextafter(high, kind(-np.inf))
    if low > high:
        low = high = kind(0.5 * a + 0.5 * b)
    return low, high
