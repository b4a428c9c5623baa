"""What a value asks of its tensor: a data type that holds it, and a shape that it has a meaning for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch

from initcfg.errors import plural
from initcfg.values.dtypes import dtype_name
from initcfg.values.kinds import (
    ORTHOGONAL_ALGORITHM,
    Constant,
    CopyOf,
    Dirac,
    Eye,
    Formula,
    FromBatch,
    FromCheckpoint,
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
)
from initcfg.values.value import Value

# The widest draw of the stream, in standard deviations (float64; float32 ends at 6.4).
_WIDEST = 8.3
# The types that random numbers are made in.
_DRAWN = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Types of less than a byte, and of bits without a meaning, which torch stores and knows nothing else of.
_PACKED = re.compile(r"float4.*|bits.*|u?int[1-7]")
_WHOLE_NUMBERS = (
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool),
)


def dtype_problem(value: Value, dtype: torch.dtype) -> str | None:
    """Why ``value`` cannot be written to a tensor of type ``dtype``; None if it can.

    Example:
        >>> import torch
        >>> from initcfg.values import Constant, dtype_problem
        >>> dtype_problem(Constant(70000.0), torch.float16)
        '70000 is beyond float16, which ends at 65504'
    """
    if isinstance(value, Parts):
        return next((found for each in value.values if (found := dtype_problem(each, dtype))), None)
    if isinstance(value, Scaled):
        numbers = tuple(value.factors)
        return dtype_problem(value.value, dtype) or (_beyond(numbers, dtype) if numbers else None)
    if isinstance(value, Numbers):
        return next((found for each in value.numbers if (found := _constant_problem(each, dtype))), None)
    if isinstance(value, (PaddingRow, Repeat, CopyOf, FromBatch)):
        return dtype_problem(value.value, dtype)
    if isinstance(value, Constant):
        return _constant_problem(value.val, dtype)
    if isinstance(value, (Eye, Dirac, Hadamard)):
        gain = 1.0 if isinstance(value, Dirac) else value.gain
        found = _whole_problem(dtype) or _constant_problem(gain, dtype)
        return found or (_constant_problem(-gain, dtype) if isinstance(value, Hadamard) else None)
    if isinstance(value, Formula):
        return None
    if isinstance(value, FromCheckpoint) and _is_packed(dtype):
        return f"torch copies nothing into {dtype_name(dtype)}; exclude it, and load it by load_state_dict"
    if value.random and not dtype.is_floating_point:
        return f"random values need a floating-point tensor, and this one is {dtype_name(dtype)}"
    if value.random and dtype not in _DRAWN:
        return (
            f"no random numbers are made in {dtype_name(dtype)}; initialize in float32 or bfloat16, and "
            "convert or quantize after"
        )
    if isinstance(value, (Normal, TruncNormal, Sparse)) and value.std < 0:
        return f"a standard deviation is not negative, and this one is {value.std:g}"
    if isinstance(value, Normal):
        return _beyond((abs(value.mean) + _WIDEST * value.std,), dtype)
    if isinstance(value, Sparse):
        return _beyond((_WIDEST * value.std,), dtype)
    if isinstance(value, Orthogonal):
        return _beyond((value.gain,), dtype)
    if isinstance(value, (Uniform, TruncNormal)):
        numbers = tuple(value.args.values())
        if isinstance(value, TruncNormal) and math.inf in (-value.a, value.b):
            # A bound that is missing holds nothing back.
            bounds = (
                bound for bound, missing in ((value.a, -math.inf), (value.b, math.inf)) if bound != missing
            )
            numbers = (abs(value.mean) + _WIDEST * value.std, *bounds)
        if found := _beyond(numbers, dtype):
            return found
        if value.a > value.b:
            return f"the lower bound {value.a:g} lies above the upper one, {value.b:g}"
    return None


def _is_packed(dtype: torch.dtype) -> bool:
    return _PACKED.fullmatch(dtype_name(dtype)) is not None


def _whole_problem(dtype: torch.dtype) -> str | None:
    """Identities are made of plain numbers, in the types that all of torch knows."""
    known = (*_DRAWN, torch.complex64, torch.complex128, *_WHOLE_NUMBERS)
    if dtype in known and dtype not in (torch.uint16, torch.uint32, torch.uint64):
        return None
    return f"identities are not made in {dtype_name(dtype)}"


def _constant_problem(number: float, dtype: torch.dtype) -> str | None:
    if dtype in _DRAWN or dtype.is_complex:
        return None if not math.isfinite(number) else _beyond((number,), dtype)
    if dtype.is_floating_point:
        return _small_float_problem(number, dtype)
    if dtype not in _WHOLE_NUMBERS:
        return f"torch fills no tensor of type {dtype_name(dtype)}"
    if dtype == torch.bool:
        low, high = 0, 1
    else:
        info = torch.iinfo(dtype)
        low, high = info.min, info.max
    if not math.isfinite(number) or number != int(number) or not low <= number <= high:
        return f"{number:g} is not a value of {dtype_name(dtype)}"
    return None


def _small_float_problem(number: float, dtype: torch.dtype) -> str | None:
    """Eight bits and less: some have no zero, no sign or no infinity, and torch may turn one into another."""
    try:
        made = torch.full((1,), number, dtype=dtype, device="cpu").to(torch.float32).item()
    except (RuntimeError, NotImplementedError, TypeError):
        return f"{number:g} is not a value of {dtype_name(dtype)}"
    alike = math.isnan(made) == math.isnan(number) and math.isinf(made) == math.isinf(number)
    same_zero = (made == 0.0) == (number == 0.0) and math.copysign(1.0, made) == math.copysign(1.0, number)
    # Rounded to nearest, a number of one binary digit is off by a third at most.
    near = not math.isfinite(number) or abs(made - number) <= abs(number) / 3.0
    return None if alike and same_zero and near else f"{number:g} is not a value of {dtype_name(dtype)}"


def _beyond(numbers: tuple[float, ...], dtype: torch.dtype) -> str | None:
    largest = torch.finfo(dtype).max
    for number in numbers:
        if not math.isfinite(number):
            return f"{number} is not finite"
        if abs(number) > largest:
            return f"{number:g} is beyond {dtype_name(dtype)}, which ends at {largest:g}"
    return None


def original_sampler_remark(value: Value, dtype: torch.dtype) -> str | None:
    """What MMEngine's sampler of truncated normals does wrong in this data type; None where it does not.

    It draws u evenly between -1 and 1 (less where a bound cuts) and takes the inverse of the error function,
    all in the type of the tensor. In a small type, u within half a step of 1 is 1, whose inverse is infinite,
    and the number lands on a bound.
    """
    if not isinstance(value, TruncNormal) or value.std <= 0:
        return None
    if torch.finfo(dtype).bits > 16 and math.inf not in (-value.a, value.b):
        return None
    low, high = (math.erf((bound - value.mean) / value.std / math.sqrt(2.0)) for bound in (value.a, value.b))
    # The step just below 1 is half of that above it.
    rounds = 1.0 - torch.finfo(dtype).eps / 4.0
    lost = max(high - rounds, 0.0) + max(-rounds - low, 0.0)
    if lost <= 0.0:
        return None
    return (
        f"under rng='torch', MMEngine's own sampler in {dtype_name(dtype)} puts about one of "
        f"{round((high - low) / lost)} numbers on a bound of {value}, and so it is here; without "
        "compat='mmengine' torch's own is used."
    )


def shape_problem(value: Value, shape: Sequence[int]) -> str | None:
    """Why ``value`` has no meaning for a tensor of ``shape``; None if it has, as values of other kinds do.

    Example:
        >>> from initcfg.values import Sparse, shape_problem
        >>> shape_problem(Sparse(0.9, 0.01), (8, 3, 3, 3))
        'it is for matrices, and this tensor has 4 dimensions'
    """
    rank = len(shape)
    if isinstance(value, Parts):
        return _parts_problem(value, shape)
    if isinstance(value, PaddingRow) and not (shape and 0 <= value.index < shape[0]):
        return f"there is no row {value.index} in a tensor of shape {tuple(shape)}"
    if isinstance(value, Scaled) and not (0 <= value.axis < rank and shape[value.axis] == len(value.factors)):
        return f"its {len(value.factors)} factors do not fit axis {value.axis} of shape {tuple(shape)}"
    if isinstance(value, Numbers) and math.prod(shape) != len(value.numbers):
        return f"it has {len(value.numbers)} numbers, and this tensor has the shape {tuple(shape)}"
    if isinstance(value, (PaddingRow, CopyOf, FromBatch, Scaled)):
        return shape_problem(value.value, shape)
    if isinstance(value, Repeat):
        return _repeat_problem(value, shape)
    if isinstance(value, Orthogonal):
        named = (*value.rows, *value.stack)
        if rank < 2:
            return f"rows and columns need two dimensions or more, and this tensor has {rank}"
        if any(not 0 <= axis < rank for axis in named) or len(set(named)) != len(named):
            return f"rows={value.rows} and stack={value.stack} are not axes of {rank} dimensions"
        if value.algorithm != ORTHOGONAL_ALGORITHM:
            return f"it is of algorithm {value.algorithm}, and this package knows {ORTHOGONAL_ALGORITHM}"
        return None if math.isfinite(value.gain) else f"its gain is {value.gain}"
    if isinstance(value, (Sparse, Eye, Hadamard)) and rank != 2:
        return f"it is for matrices, and this tensor has {plural(rank, 'dimension')}"
    if isinstance(value, Sparse) and not 0 <= value.sparsity <= 1:
        return "a sparsity lies between 0 and 1"
    if isinstance(value, Dirac):
        if rank not in (3, 4, 5):
            return f"it is for convolutions (3 to 5 dimensions), and this tensor has {rank}"
        if value.groups < 1 or shape[0] % value.groups:
            return f"{shape[0]} channels on axis 0 do not make {value.groups} equal groups"
    return None


def _repeat_problem(value: Repeat, shape: Sequence[int]) -> str | None:
    dim, times = value.dim, value.times
    if not 0 <= dim < len(shape):
        return f"a tensor of {len(shape)} dimensions has no dimension {dim}"
    if times < 1 or shape[dim] % times:
        return f"the {shape[dim]} along dimension {dim} are not each {times} times"
    return shape_problem(value.value, (*shape[:dim], shape[dim] // times, *shape[dim + 1 :]))


def _parts_problem(value: Parts, shape: Sequence[int]) -> str | None:
    dim, sizes = value.dim, value.sizes
    if not 0 <= dim < len(shape):
        return f"a tensor of {len(shape)} dimensions has no dimension {dim}"
    if len(sizes) != len(value.values):
        return f"it has {len(sizes)} sizes for {len(value.values)} values"
    if min(sizes, default=0) < 0 or sum(sizes) != shape[dim]:
        return f"its sizes {sizes} do not make the {shape[dim]} along dimension {dim}"
    shapes = ((*shape[:dim], size, *shape[dim + 1 :]) for size in sizes)
    return next(filter(None, map(shape_problem, value.values, shapes)), None)
