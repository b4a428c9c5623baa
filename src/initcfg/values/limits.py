"""What a value asks for must be something that a tensor's type can hold."""

from __future__ import annotations

import math

import torch

from initcfg.values.dtypes import dtype_name
from initcfg.values.kinds import (
    Constant,
    CopyOf,
    Eye,
    Formula,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
)

# The widest draw of the stream, in standard deviations (float64; float32 ends at 6.4).
_WIDEST = 8.3


def dtype_problem(value: Value, dtype: torch.dtype) -> str | None:
    """Why ``value`` cannot be written to a tensor of type ``dtype``; None if it can.

    Example:
        >>> import torch
        >>> from initcfg.values.limits import dtype_problem
        >>> from initcfg.values import Constant
        >>> dtype_problem(Constant(70000.0), torch.float16)
        '70000 is beyond float16, which ends at 65504'
    """
    if isinstance(value, Parts):
        return next((found for each in value.values if (found := dtype_problem(each, dtype))), None)
    if isinstance(value, (PaddingRow, CopyOf)):
        return dtype_problem(value.value, dtype)
    if isinstance(value, Constant):
        return _constant(value.val, dtype)
    if isinstance(value, Formula):
        return None
    if value.random and not dtype.is_floating_point:
        return f"random values need a floating-point tensor, and this one is {dtype_name(dtype)}"
    if isinstance(value, Uniform):
        return _beyond((value.a, value.b), dtype) or _order(value.a, value.b)
    if isinstance(value, (Normal, TruncNormal)):
        if value.std < 0:
            return f"a standard deviation is not negative, and this one is {value.std:g}"
        if isinstance(value, TruncNormal):
            return _beyond((value.mean, value.std, value.a, value.b), dtype) or _order(value.a, value.b)
        return _beyond((abs(value.mean) + _WIDEST * value.std,), dtype)
    if isinstance(value, (Orthogonal, Eye)):
        return _beyond((value.gain,), dtype)
    if isinstance(value, Sparse):
        if value.std < 0:
            return f"a standard deviation is not negative, and this one is {value.std:g}"
        return _beyond((_WIDEST * value.std,), dtype)
    return None


def _constant(number: float, dtype: torch.dtype) -> str | None:
    if dtype.is_floating_point or dtype.is_complex:
        return None if not math.isfinite(number) else _beyond((number,), dtype)
    if dtype == torch.bool:
        low, high = 0, 1
    else:
        info = torch.iinfo(dtype)
        low, high = info.min, info.max
    if not math.isfinite(number) or number != int(number) or not low <= number <= high:
        return f"{number:g} is no value of {dtype_name(dtype)}"
    return None


def _beyond(numbers: tuple[float, ...], dtype: torch.dtype) -> str | None:
    largest = torch.finfo(dtype).max
    for number in numbers:
        if not math.isfinite(number):
            return f"{number} is not finite"
        if abs(number) > largest:
            return f"{number:g} is beyond {dtype_name(dtype)}, which ends at {largest:g}"
    return None


def _order(low: float, high: float) -> str | None:
    return f"the lower bound {low:g} lies above the upper one, {high:g}" if low > high else None
