"""The normal distribution in float64, by a stated sequence of IEEE operations.

Only ``+ − × ÷ √``, rounding to an integer, and moves of the exponent are used, each of which IEEE 754
fixes to the last bit; a mathematical library's ``exp``, ``log`` or ``erfc`` differs between machines.
Functions on arrays take Python floats too, where the types say so.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", float, Floats)

# ln 2 in two parts: the first has 32 bits, so that a whole number of up to 21 bits times it is exact.
LN2_HIGH = float.fromhex("0x1.62e42feep-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
_ONE_OVER_SQRT_2PI = float.fromhex("0x1.9884533d43651p-2")

_EXP_TERMS = tuple(1.0 / math.factorial(power) for power in range(13, -1, -1))
LOG_TERMS = tuple(1.0 / (2 * power + 1) for power in range(11, -1, -1))

# (1 + x) · mills(x) as a Chebyshev series in (x − 5) / (x + 5), x from 0 to infinity.
MILLS_TERMS = (
    float.fromhex("0x1.2872883be576dp+0"),
    float.fromhex("-0x1.4e87ca9274ba0p-3"),
    float.fromhex("-0x1.c05e76eee2edap-7"),
    float.fromhex("0x1.f8fcd6b64802cp-6"),
    float.fromhex("-0x1.09bfeac807c0fp-6"),
    float.fromhex("0x1.7018703a390e4p-8"),
    float.fromhex("-0x1.728339587dc9bp-10"),
    float.fromhex("0x1.066b573675334p-12"),
    float.fromhex("-0x1.9e36c22e087e5p-16"),
    float.fromhex("-0x1.0f55666e3c92cp-20"),
    float.fromhex("0x1.926841bcf91aap-21"),
    float.fromhex("-0x1.466de63a54510p-24"),
    float.fromhex("-0x1.8db4c42ccef95p-27"),
    float.fromhex("0x1.ca231c26da126p-29"),
    float.fromhex("0x1.4b86c7f988c80p-34"),
    float.fromhex("-0x1.e85eb5a834f29p-34"),
    float.fromhex("0x1.ede1d4eb4d434p-39"),
    float.fromhex("0x1.03a00a499807bp-38"),
    float.fromhex("-0x1.0732be725fe58p-42"),
    float.fromhex("-0x1.2adab42f68893p-43"),
    float.fromhex("0x1.65779848fd7eep-47"),
    float.fromhex("0x1.7c2d1d276bf94p-48"),
    float.fromhex("-0x1.84e4459756919p-52"),
    float.fromhex("-0x1.06ea87375c5b4p-52"),
)

ENDLESS = 2.0**400
"""More sigmas than this from the mean, a tail is its nearer bound (and squares stay finite below)."""


def exp(x: float) -> float:
    """e to the ``x``, for x ≤ 0: ``2ⁿ·eʳ`` with ``n`` the nearest whole number to ``x / ln 2``.

    ``eʳ`` is its Taylor polynomial of degree 13, by Horner's rule.
    """
    if x < -750.0:
        return 0.0
    whole = round(x * _LOG2_E)
    rest = (x - whole * LN2_HIGH) - whole * LN2_LOW
    total = _EXP_TERMS[0]
    for term in _EXP_TERMS[1:]:
        total = total * rest + term
    return math.ldexp(total, whole)


def log(x: Floats) -> Floats:
    """The natural logarithm of positive numbers.

    ``x = m·2ⁿ`` with m from √½ to √2, and ``ln m = 2·artanh(s)``, ``s = (m − 1)/(m + 1)``, by the first
    twelve terms of its series, by Horner's rule.
    """
    mantissa, exponent = np.frexp(x)
    small = mantissa < SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    power = np.where(small, exponent - 1, exponent).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = LOG_TERMS[0] * square
    for term in LOG_TERMS[1:-1]:
        total += term
        total *= square
    twice = ratio + ratio
    return power * LN2_HIGH + ((twice + twice * total) + power * LN2_LOW)


def mills(x: Number) -> Number:
    """Mills' ratio ``Q(x) / φ(x)`` for x ≥ 0: the upper tail over the density.

    By Clenshaw's recurrence, the last term first.
    """
    at = (x - 5.0) / (x + 5.0)
    twice = at + at
    later = twice * 0.0
    total = later + MILLS_TERMS[-1]
    for term in MILLS_TERMS[-2:0:-1]:
        later, total = total, (twice * total - later) + term
    return ((at * total - later) + MILLS_TERMS[0]) / (x + 1.0)


def normal_cdf(x: float) -> float:
    """Φ(x), the probability below ``x``: ``φ(x)·mills(−x)`` for x ≤ 0, and ``1 − Φ(−x)`` above.

    The exponent is taken in two parts, the first exact, so that the far tail keeps its digits.
    """
    if x > 0.0:
        return 1.0 - normal_cdf(-x)
    size = -x
    if size > 39.0:
        return 0.0
    head = math.floor(size * 16.0) / 16.0
    density = exp(-0.5 * (head * head)) * exp(-0.5 * ((size - head) * (size + head)))
    return (density * _ONE_OVER_SQRT_2PI) * mills(size)


def tail_share(start: float, width: float) -> float:
    """Which share of the upper tail beyond ``start`` ≥ 0 lies within ``width`` of it."""
    end = start + width
    density = exp(-0.5 * (width * (start + end)))
    return 1.0 - density * (mills(end) / mills(start))


def into_tail(start: float, share: Floats) -> Floats:
    """How far beyond ``start`` ≥ 0 the point lies that leaves ``share`` of the tail above it.

    Solves ``Q(start + d) = share · Q(start)`` for ``d``, in logarithms, where the left side is
    ``−d(start + d/2) + ln mills(start + d)``: nearly a parabola, whose root is the first guess, and
    then three steps of Halley's method, always three.
    """
    target = -log(share)
    at_start = mills(start)
    slope = 1.0 / at_start
    bend = 1.0 - 0.36 / ((start + 1.0) * (start + 1.0))
    distance = (target + target) / (slope + np.sqrt(slope * slope + (2.0 * bend) * target))
    for _ in range(3):
        point = start + distance
        ratio = mills(point)
        excess = (distance * (start + 0.5 * distance) - log(ratio / at_start)) - target
        step = excess * ratio
        distance = distance - step / (1.0 - (0.5 * step) * (1.0 / ratio - point))
        # As the kernel has it: never −0.0.
        distance = np.where(distance > 0.0, distance, 0.0)
    return distance
