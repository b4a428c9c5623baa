"""What is wrong with a value by itself, whatever its tensor: a check for each kind, with the faulty field."""

from __future__ import annotations

import math

from initcfg.values.adaptation_steps import step_fault
from initcfg.values.kinds import (
    Adapted,
    Computed,
    CopyOf,
    Dirac,
    FromBatch,
    FromCheckpoint,
    Keep,
    Normal,
    Numbers,
    Opaque,
    Originals,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    Seeded,
    Sparse,
    TruncNormal,
    Uniform,
)
from initcfg.values.value import Value

_STORED = (FromCheckpoint, Keep)
_NOT_DRAWN = (*_STORED, Computed, FromBatch, Opaque)

Fault = tuple[tuple[str | int, ...], str]
"""The way to the faulty field, and why no value of the kind has that there."""


def own_fault(value: Value) -> Fault | None:
    """The first fault of a value, or of one inside of it; None if there is none.

    Example:
        >>> from initcfg.values import Normal, Parts
        >>> from initcfg.values.own_faults import own_fault
        >>> own_fault(Parts(0, (2, 2), (Normal(0.0, 1.0), Normal(0.0, -1.0))))
        (('values', 1, 'std'), 'it is -1, and a standard deviation is finite and not negative')
    """
    if isinstance(value, (PaddingRow, Repeat, CopyOf, FromBatch)):
        return _index_fault(value) or _within(own_fault(value.value), "value")
    if isinstance(value, Scaled):
        if isinstance(value.value, _NOT_DRAWN):
            return ("value",), "only what is drawn is scaled"
        return _numbers_fault(value.factors, "factors") or _within(own_fault(value.value), "value")
    if isinstance(value, Numbers):
        return _numbers_fault(value.numbers, "numbers")
    if isinstance(value, Opaque):
        return _within(own_fault(value.over), "over")
    if isinstance(value, Parts):
        return _parts_fault(value)
    if isinstance(value, Originals):
        other = (number for number, each in enumerate(value.values) if not isinstance(each, _STORED))
        if (number := next(other, None)) is not None:
            return ("values", number), "it is neither loaded nor kept"
        return _first_within(value.values)
    if isinstance(value, Adapted):
        return _steps_fault(value)
    found: str | None = None
    if isinstance(value, (Normal, Sparse, TruncNormal)) and not 0 <= value.std < math.inf:
        return ("std",), f"it is {value.std:g}, and a standard deviation is finite and not negative"
    if isinstance(value, (Normal, TruncNormal)) and not math.isfinite(value.mean):
        return ("mean",), f"it is {value.mean:g}, and a mean is finite"
    if isinstance(value, (Uniform, TruncNormal)):
        for name in ("a", "b"):
            bound = value.args[name]
            if math.isnan(bound) or (isinstance(value, Uniform) and math.isinf(bound)):
                return (name,), f"it is {bound:g}, and that is no bound"
        found = (
            f"the lower bound {value.a:g} lies above the upper one, {value.b:g}"
            if value.a > value.b
            else None
        )
        return None if found is None else (("a",), found)
    if isinstance(value, Sparse) and not 0 <= value.sparsity <= 1:
        return ("sparsity",), f"it is {value.sparsity:g}, and a sparsity lies between 0 and 1"
    if isinstance(value, Orthogonal):
        return _axes_fault(value)
    if isinstance(value, Dirac) and value.groups < 1:
        return ("groups",), f"it is {value.groups}, and there is one group at least"
    return None


def _within(fault: Fault | None, *steps: str | int) -> Fault | None:
    return None if fault is None else ((*steps, *fault[0]), fault[1])


def _index_fault(value: PaddingRow | Repeat | CopyOf | FromBatch) -> Fault | None:
    if isinstance(value, PaddingRow) and value.index < 0:
        return ("index",), f"there is no row {value.index}"
    if isinstance(value, Seeded) and not 0 <= value.seed < 1 << 64:
        return ("seed",), f"it is {value.seed}, and a seed is from 0 to 2**64 - 1"
    if isinstance(value, Repeat) and value.dim < 0:
        return ("dim",), f"there is no dimension {value.dim}"
    if isinstance(value, Repeat) and value.times < 1:
        return ("times",), f"it is {value.times}, and each slice is there once or more"
    return None


def _numbers_fault(numbers: tuple[float, ...], name: str) -> Fault | None:
    found = (number for number, each in enumerate(numbers) if not math.isfinite(each))
    bad = next(found, None)
    return None if bad is None else ((name, bad), f"it is {numbers[bad]:g}, and that is no number to write")


def _parts_fault(value: Parts) -> Fault | None:
    if value.dim < 0:
        return ("dim",), f"there is no dimension {value.dim}"
    for number, size in enumerate(value.sizes):
        if size < 0:
            return ("sizes", number), f"it is {size}, and a size is not negative"
    if len(value.sizes) != len(value.values):
        return ("sizes",), f"there are {len(value.sizes)} of them for {len(value.values)} values"
    return _first_within(value.values)


def _first_within(values: tuple[Value, ...]) -> Fault | None:
    faults = (_within(own_fault(each), "values", number) for number, each in enumerate(values))
    return next(filter(None, faults), None)


def _steps_fault(value: Adapted) -> Fault | None:
    for number, step in enumerate(value.steps):
        fault = step_fault(step)
        if fault is not None:
            return ("steps", number, *fault[0]), fault[1]
    return None


def _axes_fault(value: Orthogonal) -> Fault | None:
    if not math.isfinite(value.gain):
        return ("gain",), f"it is {value.gain:g}, and a gain is finite"
    if value.algorithm < 1:
        return ("algorithm",), f"it is {value.algorithm}, and algorithms are counted from 1"
    for name in ("rows", "stack"):
        for number, axis in enumerate(value.args[name]):
            if axis < 0:
                return (name, number), f"there is no axis {axis}"
    return None
