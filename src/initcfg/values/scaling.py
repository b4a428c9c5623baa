"""Scaling: the value whose numbers are those of another, times a factor."""

from __future__ import annotations

import math
from dataclasses import replace

from initcfg.errors import TensorError
from initcfg.values.kinds import (
    Computed,
    Constant,
    CopyOf,
    Eye,
    FromBatch,
    FromCheckpoint,
    Hadamard,
    Keep,
    Normal,
    Numbers,
    Opaque,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    Sparse,
    TruncNormal,
    Uniform,
)
from initcfg.values.value import Value

_SCALABLE = (Constant, Uniform, Normal, TruncNormal, Sparse, Orthogonal, Eye, Hadamard)
# What somebody else decides: code, a batch, a checkpoint.
_NOT_DRAWN = (Keep, FromBatch, FromCheckpoint, Computed, Opaque)


def scaled(value: Value, factor: float, shape: tuple[int, ...] = (), *, divisor: float = 1.0) -> Value:
    """What a tensor holds that is drawn as ``value`` and then multiplied by ``factor / divisor``.

    Numbers are divided by the divisor itself: 0.02 / √24 has another last digit than 0.02 · (1 / √24).

    Of a random value, a factor below 0 gives the same distribution with its sign turned. Of a kind that no
    other numbers say (a formula, one of your own), the drawn tensor of this ``shape`` is multiplied.

    Raises:
        TensorError: No value says that.

    Example:
        >>> from initcfg.values import Normal, TruncNormal, scaled
        >>> print(scaled(Normal(0.0, 0.02), 0.5), scaled(TruncNormal(0.0, 1.0, -2.0, 3.0), -0.5))
        Normal(mean=0, std=0.01) TruncNormal(mean=0, std=0.5, a=-1.5, b=1)
    """
    if factor == divisor:
        return value

    def times(number: float) -> float:
        return number * factor / divisor

    if isinstance(value, Parts):
        sizes = ((*shape[: value.dim], size, *shape[value.dim + 1 :]) for size in value.sizes)
        parts = zip(value.values, sizes, strict=True)
        return replace(
            value, values=tuple(scaled(each, factor, size, divisor=divisor) for each, size in parts)
        )
    if isinstance(value, (PaddingRow, CopyOf)):
        return replace(value, value=scaled(value.value, factor, shape, divisor=divisor))
    if isinstance(value, Repeat):
        size = (
            (*shape[: value.dim], shape[value.dim] // value.times, *shape[value.dim + 1 :]) if shape else ()
        )
        return replace(value, value=scaled(value.value, factor, size, divisor=divisor))
    if isinstance(value, Scaled):
        return replace(value, factors=tuple(map(times, value.factors)))
    if isinstance(value, Numbers):
        return Numbers(tuple(map(times, value.numbers)))
    if factor == 0 and isinstance(value, _SCALABLE):
        return Constant(0.0)
    if isinstance(value, Constant):
        made: Value = Constant(times(value.val))
    elif isinstance(value, Uniform):
        made = Uniform(*sorted((times(value.a), times(value.b))))
    elif isinstance(value, Normal):
        # Plus zero: of -0 and 0 there is one value alone.
        made = Normal(times(value.mean) + 0.0, abs(times(value.std)))
    elif isinstance(value, TruncNormal):
        a, b = sorted((times(value.a), times(value.b)))
        made = TruncNormal(times(value.mean) + 0.0, abs(times(value.std)), a, b)
    elif isinstance(value, Sparse):
        made = replace(value, std=abs(times(value.std)))
    elif isinstance(value, (Orthogonal, Eye, Hadamard)):
        made = replace(value, gain=times(value.gain))
    elif shape and not isinstance(value, _NOT_DRAWN):
        return Scaled(value, (factor / divisor,) * shape[0])
    else:
        raise TensorError(
            f"{value} cannot be multiplied by a scale: no value says what that would be.",
            fix="Leave out scale, or take an initializer whose numbers are of a distribution.",
        )
    _check(value, made, factor / divisor)
    return made


def _check(value: Value, made: Value, factor: float) -> None:
    """No number may leave what a float can hold on the way."""
    open_ended = {number for number in value.args.values() if isinstance(number, float)} & {
        math.inf,
        -math.inf,
    }
    for name, number in made.args.items():
        if isinstance(number, float) and not math.isfinite(number) and not open_ended:
            raise TensorError(
                f"{value} times {factor:.6g} has the {name} {number}: beyond what a float can hold.",
                fix="Correct the scale.",
            )
