"""What a value says of a tensor's numbers: their law, and so their histogram before any is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from initcfg.values import (
    Constant,
    CopyOf,
    Dirac,
    Eye,
    Hadamard,
    Normal,
    Numbers,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
)

BINS = 32
# Beyond so many standard deviations a bell is as flat as the paper.
_TAILS = 4.0
_MOST = 64
# Of a bin.
_ROUNDING = 0.1


@dataclass(frozen=True)
class Law:
    """Numbers between two ends, some share of all: ``below(x)`` is how many of them are at most x."""

    share: float
    low: float
    high: float
    mean: float
    variance: float
    below: Callable[[float], float]


def laws(value: Value, shape: Sequence[int]) -> tuple[Law, ...]:
    """The laws that a value's numbers have, with shares that add up to 1; none where it does not say."""
    found = tuple(law for law in _laws(value, tuple(shape)) if law.share > 0)
    whole = all(math.isfinite(number) for law in found for number in (law.low, law.high))
    return found if whole and math.isclose(sum(law.share for law in found), 1.0, rel_tol=1e-6) else ()


def deviation(found: Sequence[Law]) -> tuple[float, float]:
    """Mean and standard deviation of all the numbers."""
    mean = sum(law.share * law.mean for law in found)
    square = sum(law.share * (law.variance + (law.mean - mean) ** 2) for law in found)
    return mean, math.sqrt(max(square, 0.0))


def edges_of(found: Sequence[Law]) -> tuple[float, float]:
    """The range of a histogram."""
    low, high = min(law.low for law in found), max(law.high for law in found)
    if low == high:
        around = abs(low) or 1.0
        return low - around, high + around
    return low, high


def histogram(found: Sequence[Law], low: float, high: float, bins: int = BINS) -> tuple[float, ...]:
    """The share of the numbers in each of the bins between two ends."""
    edges = [low + (high - low) * place / bins for place in range(bins + 1)]
    shares = [0.0] * bins
    for law in found:
        if law.low == law.high:
            place = (law.low - low) / (high - low) * bins
            # A number at an end may lie beyond it by a rounding.
            if -_ROUNDING <= place <= bins + _ROUNDING:
                shares[min(max(math.floor(place), 0), bins - 1)] += law.share
            continue
        below = [law.below(min(max(edge, law.low), law.high)) for edge in edges]
        for place in range(bins):
            shares[place] += law.share * (below[place + 1] - below[place])
    return tuple(shares)


def _laws(value: Value, shape: tuple[int, ...]) -> list[Law]:
    count = math.prod(shape)
    if count == 0:
        return []
    match value:
        case Constant():
            return [_spike(value.val)]
        case Uniform():
            return [_uniform(value.a, value.b)]
        case Normal():
            return [_normal(value.mean, value.std)]
        case TruncNormal():
            return [_cut(value.mean, value.std, value.a, value.b)]
        case Orthogonal():
            return _orthogonal(value, shape)
        case Hadamard():
            return [_spike(-value.gain, 0.5), _spike(value.gain, 0.5)]
        case Numbers():
            return [_spike(each, 1 / len(value.numbers)) for each in _some(value.numbers)]
        case Sparse():
            zero = math.ceil(value.sparsity * shape[0]) / shape[0]
            return _mixed([(zero, [_spike(0.0)]), (1 - zero, [_normal(0.0, value.std)])])
        case Eye() | Dirac():
            one = min(shape[:2]) / count
            gain = value.gain if isinstance(value, Eye) else 1.0
            return [_spike(0.0, 1 - one), _spike(gain, one)]
        case PaddingRow():
            row = 1 / shape[0]
            return _mixed([(row, [_spike(0.0)]), (1 - row, _laws(value.value, shape))])
        case Parts():
            sides = [(*shape[: value.dim], size, *shape[value.dim + 1 :]) for size in value.sizes]
            parts = zip(value.sizes, value.values, sides, strict=True)
            return _mixed([(size / sum(value.sizes), _laws(each, side)) for size, each, side in parts])
        case Scaled():
            factors = _some(value.factors)
            inner = _laws(value.value, shape)
            return _mixed([(1 / len(factors), [_times(law, factor) for law in inner]) for factor in factors])
        case Repeat() | CopyOf():
            return _laws(value.value, shape)
    return []


def _some(numbers: Sequence[float]) -> Sequence[float]:
    """All, or so many of them that nobody sees the difference."""
    return numbers if len(numbers) <= _MOST else [numbers[len(numbers) * i // _MOST] for i in range(_MOST)]


def _mixed(parts: Iterable[tuple[float, list[Law]]]) -> list[Law]:
    return [
        Law(law.share * share, law.low, law.high, law.mean, law.variance, law.below)
        for share, inner in parts
        for law in inner
    ]


def _times(law: Law, factor: float) -> Law:
    if factor == 0.0:
        return _spike(0.0, law.share)
    ends = sorted((law.low * factor, law.high * factor))

    def below(x: float) -> float:
        there = law.below(x / factor)
        return there if factor > 0 else 1 - there

    return Law(law.share, ends[0], ends[1], law.mean * factor, law.variance * factor**2, below)


def _spike(place: float, share: float = 1.0) -> Law:
    return Law(share, place, place, place, 0.0, lambda x: float(x >= place))


def _uniform(a: float, b: float) -> Law:
    if not a < b:
        return _spike(a)
    return Law(1.0, a, b, (a + b) / 2, (b - a) ** 2 / 12, lambda x: (x - a) / (b - a))


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _normal(mean: float, std: float) -> Law:
    if not std > 0:
        return _spike(mean)
    ends = mean - _TAILS * std, mean + _TAILS * std
    return Law(1.0, *ends, mean, std**2, lambda x: _phi((x - mean) / std))


def _cut(mean: float, std: float, a: float, b: float) -> Law:
    if not std > 0:
        return _spike(mean)
    a, b = max(a, mean - 8 * std), min(b, mean + 8 * std)
    low, high = (a - mean) / std, (b - mean) / std
    whole = _phi(high) - _phi(low)
    if not whole > 1e-12:
        # So far out in a tail that the numbers say nothing: as even as they look.
        return _uniform(min(a, b), max(a, b))
    flat = [math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) / whole for x in (low, high)]
    shift = flat[0] - flat[1]
    variance = 1 + low * flat[0] - high * flat[1] - shift**2
    ends = max(a, mean - _TAILS * std), min(b, mean + _TAILS * std)
    start = _phi(low)
    return Law(
        1.0,
        *(ends if ends[0] < ends[1] else (a, b)),
        mean + std * shift,
        std**2 * max(variance, 0.0),
        lambda x: (_phi((x - mean) / std) - start) / whole,
    )


def _orthogonal(value: Orthogonal, shape: tuple[int, ...]) -> list[Law]:
    """An element of a random direction in n dimensions: its density is (1 - x²)^((n-3)/2)."""
    rows = math.prod(shape[axis] for axis in value.rows)
    columns = math.prod(shape) // max(rows, 1) // math.prod(shape[axis] for axis in value.stack)
    n, gain = max(rows, columns), abs(value.gain)
    if gain == 0.0:
        return [_spike(0.0)]
    if n == 1:
        return [_spike(-gain, 0.5), _spike(gain, 0.5)]
    if n > 30:
        return [_normal(0.0, gain / math.sqrt(n))]
    # By angles the density is sin(t)^(n-2), which has no poles; 200 steps are finer than any pixel.
    steps = 200
    heights = [math.sin(math.pi * (step + 0.5) / steps) ** (n - 2) for step in range(steps)]
    sums = [0.0]
    for height in heights:
        sums.append(sums[-1] + height)

    def below(x: float) -> float:
        place = math.acos(max(-1.0, min(1.0, -x / gain))) / math.pi * steps
        whole = min(int(place), steps - 1)
        return (sums[whole] + heights[whole] * (place - whole)) / sums[-1]

    return [Law(1.0, -gain, gain, 0.0, gain**2 / n, below)]
