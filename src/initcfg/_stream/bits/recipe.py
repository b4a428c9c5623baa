"""Recipes: a distribution with every number in it resolved and rounded, for one element type.

All implementations of the stream (the NumPy reference, the kernel, the fallback) draw from recipes, so
rounding happens here and nowhere else.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache, wraps
from typing import ParamSpec

import numpy as np

from initcfg._stream.bits import gauss
from initcfg.errors import PlanError

Arguments = ParamSpec("Arguments")

_SMALLEST_COARSE_WIDTH = 1 << 24
_LARGEST_ARGUMENT = 2.0**1000
# Of the types by ``double``: their names, and their largest numbers.
_NAMES = ("float32", "float64")
_LARGEST = (float(np.finfo(np.float32).max), float(np.finfo(np.float64).max))
# Of float32: the smallest number with all its digits, and the distance of those below it.
_SMALLEST_NORMAL = 2.0**-126
_STEP = 2.0**-149


class Kind(IntEnum):
    """How words become numbers; the kernel knows the same codes."""

    BITS = 0
    CONSTANT = 1
    UNIFORM = 2
    NORMAL = 3
    CUT = 4
    FLAT = 5
    UPPER = 6
    LOWER = 7
    BOTH = 8


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How to draw one distribution as one type; compared by identity, since −0.0 equals 0.0.

    Attributes:
        kind: Which map.
        double: Whether the elements are float64, of two words each.
        numbers: What the map takes, in its order.
        low: Smallest number that is given.
        high: Largest number that is given.
        first: First word of a CUT.
        width: How many words a CUT keeps.
    """

    kind: Kind
    double: bool
    numbers: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    first: int = 0
    width: int = 0


BITS = Recipe(Kind.BITS, False)
"""The words themselves, one for each element."""


def _remembered(make: Callable[Arguments, Recipe]) -> Callable[Arguments, Recipe]:
    """The function, with its recipes remembered: a model has thousands of tensors and few distributions."""

    # By the numbers' bytes too, since −0.0 equals 0.0 and is another number.
    @lru_cache(maxsize=4096)
    def by_bytes(arguments: tuple[float, ...], _: bytes) -> Recipe:
        return make(*arguments)  # pyright: ignore[reportCallIssue]

    packed = struct.Struct(f"<{make.__code__.co_argcount}d").pack

    @wraps(make)
    def recipe(*arguments: Arguments.args, **_: Arguments.kwargs) -> Recipe:
        return by_bytes(arguments, packed(*arguments))

    return recipe


@_remembered
def constant_recipe(val: float, double: bool) -> Recipe:
    """Every element is ``val``, rounded to float32 unless ``double``."""
    # Of all NaN the one that a plan can say.
    if math.isnan(val):
        return Recipe(Kind.CONSTANT, double, (math.nan,))
    return Recipe(Kind.CONSTANT, double, (_rounded(val, double),))


@_remembered
def uniform_recipe(a: float, b: float, double: bool) -> Recipe:
    """U(a, b): UNIFORM(middle, half)."""
    _check_bounds(a, b)
    for name, bound in (("a", a), ("b", b)):
        if abs(bound) > _LARGEST[double]:
            raise PlanError(f"The argument {name}={bound!r} does not fit {_NAMES[double]}.")
    low, high = _inside(a, b, double)
    middle, half = _rounded(0.5 * a + 0.5 * b, double), _rounded(0.5 * b - 0.5 * a, double)
    return Recipe(Kind.UNIFORM, double, (middle, half), low, high)


@_remembered
def normal_recipe(mean: float, std: float, double: bool) -> Recipe:
    """N(mean, std²): NORMAL(center, spread), or BOTH tails in full."""
    _check_spread(mean, std, double)
    if double:
        return Recipe(Kind.BOTH, True, (mean, std, 0.0, 0.0, 1.0))
    return Recipe(Kind.NORMAL, False, (_rounded(mean, False), _rounded(std, False)))


@_remembered
def trunc_normal_recipe(mean: float, std: float, a: float, b: float, double: bool) -> Recipe:
    """N(mean, std²) within [a, b]: CUT(center, spread), or a map in float64, or a constant."""
    _check_spread(mean, std, double)
    _check_truncation(a, b)
    low, high = _inside(a, b, double)
    kind, numbers = Kind.CONSTANT, (mean,)
    if std != 0.0 and a != b:
        first, width = (0, 0) if double else truncation_integers(mean, std, a, b)
        if width >= _SMALLEST_COARSE_WIDTH:
            numbers = (_rounded(mean, False), _rounded(std, False))
            return Recipe(Kind.CUT, False, numbers, low, high, first, width)
        kind, numbers = _fine(mean, std, a, b)
    if kind is Kind.CONSTANT:
        numbers = (min(max(_rounded(numbers[0], double), low), high),)
    return Recipe(kind, double, numbers, low, high)


def truncation_integers(mean: float, std: float, a: float, b: float) -> tuple[int, int]:
    """The first word and the number of words (at most 2³² − 1) that [a, b] keeps of a normal's 2³².

    Args:
        mean: Mean of the normal distribution before it is cut.
        std: Its standard deviation, above 0.
        a: Lower bound; minus infinity for none.
        b: Upper bound; infinity for none.

    Returns:
        ``round(Φ(α)·2³²)``, and how many words lie below ``round(Φ(β)·2³²)`` from there, where α and β
        are the bounds in sigmas. Below 2²⁴ words, a truncated normal is made in float64 instead.

    Raises:
        PlanError: std is not above 0, a > b, mean or std is not finite, or a bound excludes everything.

    Example:
        >>> from initcfg._stream.bits import truncation_integers
        >>> truncation_integers(0.0, 0.02, -2.0, 2.0)
        (0, 4294967295)
        >>> truncation_integers(0.0, 0.02, float("-inf"), 0.0)
        (0, 2147483648)
    """
    _check_spread(mean, std, True)
    _check_truncation(a, b)
    if std == 0.0:
        raise PlanError("A normal distribution with std 0 has no probabilities to cut.")
    first, last = (round(gauss.normal_cdf(_sigmas(bound, mean, std)) * 2.0**32) for bound in (a, b))
    return first, min(last - first, (1 << 32) - 1)


def _fine(mean: float, std: float, a: float, b: float) -> tuple[Kind, tuple[float, ...]]:
    """The inverse of the truncated normal's distribution function, in float64."""
    alpha, beta, width = _sigmas(a, mean, std), _sigmas(b, mean, std), _sigmas(b, a, std)
    if width * max(abs(alpha), abs(beta)) <= 2.0**-24:
        # The density is flat here, to within float32.
        return Kind.FLAT, (a, b - a)
    if alpha >= gauss.ENDLESS:
        return Kind.CONSTANT, (a,)
    if -beta >= gauss.ENDLESS:
        return Kind.CONSTANT, (b,)
    if alpha >= 0.0:
        return Kind.UPPER, (a, std, alpha, gauss.tail_share(alpha, width))
    if beta <= 0.0:
        return Kind.LOWER, (b, std, -beta, gauss.tail_share(-beta, width))
    below, above = gauss.normal_cdf(alpha), gauss.normal_cdf(-beta)
    return Kind.BOTH, (mean, std, below, above, (1.0 - below) - above)


def _sigmas(to: float, origin: float, std: float) -> float:
    """``(to − origin) / std``, held within ±2⁵⁰⁰, where squares and products are still finite."""
    distance = to - origin
    if math.isinf(distance) or abs(distance) >= std * 2.0**500:
        return math.copysign(2.0**500, distance)
    return distance / std


def _rounded(number: float, double: bool) -> float:
    """The number as the type holds it, also where the processor was told to flush small float32 to zero."""
    if double:
        return float(number)
    if abs(number) < _SMALLEST_NORMAL:
        return math.copysign(round(number / _STEP) * _STEP, number)
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def _next(number: float, toward: float, double: bool) -> float:
    """The neighbour of a number of the type."""
    if double:
        return math.nextafter(number, toward)
    if abs(number) <= _SMALLEST_NORMAL:
        return number + math.copysign(_STEP, toward)
    return float(np.nextafter(np.float32(number), np.float32(toward)))


def _check_finite(**arguments: float) -> None:
    for name, number in arguments.items():
        if not abs(number) <= _LARGEST_ARGUMENT:
            raise PlanError(
                f"The argument {name} must be finite and at most 2**1000 in size, not {number!r}."
            )


def _check_bounds(a: float, b: float) -> None:
    _check_finite(a=a, b=b)
    _check_order(a, b)


def _check_order(a: float, b: float) -> None:
    if a > b:
        raise PlanError(f"The lower bound a={a!r} is above the upper bound b={b!r}.", fix="Exchange a and b.")


def _check_truncation(a: float, b: float) -> None:
    """The bounds of a truncated normal: one or both may be missing, which is infinity on its side."""
    _check_finite(a=0.0 if a == -math.inf else a, b=0.0 if b == math.inf else b)
    _check_order(a, b)


def _check_spread(mean: float, std: float, double: bool) -> None:
    _check_finite(mean=mean, std=std)
    if std < 0.0:
        raise PlanError(f"The standard deviation must not be negative, but std={std!r}.")
    # No draw lies nine sigmas out, so none can overflow.
    if abs(mean) + 9.0 * std > _LARGEST[double]:
        raise PlanError(f"Draws with mean={mean!r} and std={std!r} do not fit {_NAMES[double]}.")


def _inside(a: float, b: float, double: bool) -> tuple[float, float]:
    """The smallest and the largest number of the type in [a, b]; the nearest number where there is none."""
    largest = _LARGEST[double]
    if a > largest or b < -largest:
        raise PlanError(f"The bounds a={a!r} and b={b!r} leave no {_NAMES[double]}.")
    low, high = _rounded(max(a, -largest), double), _rounded(min(b, largest), double)
    if low < a:
        low = _next(low, math.inf, double)
    if high > b:
        high = _next(high, -math.inf, double)
    if low > high:
        low = high = _rounded(0.5 * a + 0.5 * b, double)
    return low, high
