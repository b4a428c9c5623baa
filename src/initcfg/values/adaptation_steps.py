"""Steps: what is done to a tensor of a checkpoint so that it fits, as pure data.

- ``("dequantize", divisor, *block)``: of every two tensors, numbers and scales, their product over the
  divisor; along each axis, so many numbers share a scale, or all of them if it says 0;
- ``("transpose",)``: a matrix, turned; ``("transpose", axis, axis)``: of any tensor, these;
- ``("concat",)``: the tensors so far, one below the other; steps before it are done to each;
  ``("concat", axis)``: along another axis;
- ``("stack", count)``: so many of the tensors at a time, as one with a new first axis;
- ``("take", index)``: one of those that are stacked;
- ``("narrow", start, rows)``: some rows; ``("narrow", start, count, axis)``: of another axis;
- ``("select", *rows)``: these rows, in this order;
- ``("grow", how, rows)``: new rows at the end, the ``mean`` of the others, or with their ``covariance`` too;
- ``("channels", count)``: another number of input channels;
- ``("patch", height, width)``: another patch size;
- ``("inflate", how, depth)``: a time axis, filled by ``mean`` or in the ``center``;
- ``("resize_tokens", prefix, height, width, height, width)``: positions, from a grid to another;
- ``("resize_line", axis, prefix, old, new)``: positions one after another, along that axis;
- ``("resize_table", extra, height, width, height, width)``: relative positions;
- ``("resize_grid", axis, height, width)``: positions that lie as an image does;
- ``("subset", *sizes)``: elements at even distances along each axis;
- ``("copies", axis, size)``: what is along an axis, again from its first on, until it has that size;
- ``("shared", axis, size)``: the same, each divided by the number of its copies;
- ``("repeat", count)``: a new first axis of so many copies;
- ``("pissa", part, rank, scaling)``: of a matrix, the ``A`` or ``B`` of its first singular vectors, or the
  ``rest`` that it is without them times the scaling; ``("olora", part, rank, scaling)``: the same of Q and R.

What they compute is in ``_stream/writing/adaptation.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from initcfg.errors import plural
from initcfg.values.misfits import short

AdaptationStep = tuple[Any, ...]
"""The name of a step, and its numbers."""

_TEXTS: dict[str, Callable[..., str]] = {
    "dequantize": lambda divisor, *block: f"dequantized, {scales_text(block)}",
    "transpose": lambda *axes: f"axes {axes[0]} and {axes[1]} exchanged" if axes else "transposed",
    "concat": lambda axis=0: f"joined along axis {axis}" if axis else "joined",
    "stack": lambda count: f"stacked by {count}",
    "take": lambda index: f"number {index} of the stack",
    "narrow": lambda start, rows, axis=0: (
        f"{start} to {start + rows} of axis {axis}" if axis else f"rows {start} to {start + rows}"
    ),
    "select": lambda *rows: f"{len(rows)} selected rows",
    "grow": lambda how, rows: f"grown to {rows} rows by {how}",
    "channels": lambda count: f"input channels to {count}",
    "patch": lambda height, width: f"patches to {height}×{width}",
    "inflate": lambda how, depth: f"inflated to depth {depth} by {how}",
    "resize_tokens": lambda prefix, *size: (
        _resized("positions", size) + (f" after {plural(prefix, 'token')}" if prefix else "")
    ),
    "resize_line": lambda axis, prefix, old, new: (
        f"positions {old} → {new}" + (f" after {plural(prefix, 'row')}" if prefix else "")
    ),
    "resize_table": lambda extra, *size: (
        _resized("relative positions", size) + (f" before {plural(extra, 'row')}" if extra else "")
    ),
    "resize_grid": lambda axis, height, width: f"positions to {height}×{width}",
    "subset": lambda *sizes: f"elements chosen evenly, {'×'.join(map(str, sizes))}",
    "copies": lambda axis, size: f"copied along axis {axis} to {size}",
    "shared": lambda axis, size: f"copied along axis {axis} to {size}, divided by the copies",
    "repeat": lambda count: f"{count} copies",
    "pissa": lambda part, rank, scaling: _of_low_rank(part, rank, scaling, "singular vectors"),
    "olora": lambda part, rank, scaling: _of_low_rank(part, rank, scaling, "QR"),
}

_SIZE, _PLACE = range(1, 1 << 31), range(1 << 31)
_AXIS = range(-16, 16)
_FACTOR = "a number above 0"
_PARTS = (("A", "B", "rest"), _SIZE, _FACTOR)
_Numbers = tuple[range | tuple[str, ...] | str, ...]
# What may stand after a step's name: some of these, of which each says the range of its numbers.
_FORMS: Mapping[str, tuple[_Numbers, ...]] = MappingProxyType(
    {
        "dequantize": tuple((_SIZE, *[_PLACE] * rank) for rank in range(16)),
        "transpose": ((), (_AXIS, _AXIS)),
        "concat": ((), (_AXIS,)),
        "stack": ((_SIZE,),),
        "take": ((_PLACE,),),
        "narrow": ((_PLACE, _PLACE), (_PLACE, _PLACE, _AXIS)),
        "grow": ((("mean", "covariance"), _SIZE),),
        "channels": ((_SIZE,),),
        "patch": ((_SIZE, _SIZE),),
        "inflate": ((("mean", "center"), _SIZE),),
        "resize_tokens": ((_PLACE, *[_SIZE] * 4),),
        "resize_line": ((_AXIS, _PLACE, _SIZE, _SIZE),),
        "resize_table": ((_PLACE, *[_SIZE] * 4),),
        "resize_grid": ((range(1, 3), _SIZE, _SIZE),),
        "copies": ((range(16), _SIZE),),
        "shared": ((range(16), _SIZE),),
        "repeat": ((_SIZE,),),
        "pissa": (_PARTS,),
        "olora": (_PARTS,),
    }
)


def step_fault(step: AdaptationStep) -> tuple[tuple[int, ...], str] | None:
    """The way to the first fault in a step, and why no step has that there; None if there is none.

    Example:
        >>> from initcfg.values.adaptation_steps import step_fault
        >>> step_fault(("inflate", "mean", 0)), step_fault(("take", 2))
        (((2,), 'it is 0, and should be a whole number from 1 on'), None)
    """
    name, *numbers = step or (None,)
    if name in ("select", "subset"):
        forms: tuple[_Numbers, ...] = ((_PLACE,) * len(numbers),)
    elif isinstance(name, str) and name in _FORMS:
        forms = _FORMS[name]
    else:
        return (0,) if step else (), f"{short(name)} is no step"
    form = next((each for each in forms if len(each) == len(numbers)), None)
    if form is None:
        counts = " or ".join(str(count) for count in dict.fromkeys(map(len, forms)))
        return (), f"{name!r} is followed by {counts} items, and not by {len(numbers)}"
    for place, (item, allowed) in enumerate(zip(numbers, form, strict=True), 1):
        if not _is_allowed(item, allowed):
            return (place,), f"it is {short(item)}, and should be {_allowed_text(allowed)}"
    return None


def _is_allowed(item: Any, allowed: range | tuple[str, ...] | str) -> bool:
    if isinstance(allowed, str):
        return type(item) in (int, float) and 0 < item < 1 << 63
    # A range goes through all its numbers for what is no int; bool is a subclass of int.
    return type(item) is (str if isinstance(allowed, tuple) else int) and item in allowed


def _allowed_text(allowed: range | tuple[str, ...] | str) -> str:
    if isinstance(allowed, str):
        return allowed
    if isinstance(allowed, tuple):
        return " or ".join(map(repr, allowed))
    to = "on" if allowed in (_SIZE, _PLACE) else f"to {allowed[-1]}"
    return f"a whole number from {allowed[0]} {to}"


def scales_text(block: Sequence[int]) -> str:
    """Which numbers share a scale, by their number along each axis; 0 is all of them.

    Example:
        >>> from initcfg.values import scales_text
        >>> scales_text((128, 128)), scales_text((1, 0)), scales_text((0, 0))
        ('a scale for each block of 128×128', 'a scale for each row', 'one scale')
    """
    if not any(block):
        return "one scale"
    if block[0] == 1 and not any(block[1:]):
        return "a scale for each row"
    return "a scale for each block of " + "×".join(str(size or "all") for size in block)


def _of_low_rank(part: str, rank: int, scaling: float, what: str) -> str:
    if part == "rest":
        return f"without {scaling:.4g} times its first {rank} by {what}"
    return f"{part} of its first {rank} by {what}"


def _resized(what: str, size: tuple[int, ...]) -> str:
    return f"{what} {size[0]}×{size[1]} → {size[2]}×{size[3]}"


def steps_text(steps: tuple[AdaptationStep, ...]) -> str:
    """Steps for a person.

    Example:
        >>> from initcfg.values.adaptation_steps import steps_text
        >>> steps_text((("inflate", "mean", 3), ("channels", 4)))
        'inflated to depth 3 by mean, input channels to 4'
    """
    if any(map(step_fault, steps)):
        return f"steps {steps!r}, which are not known"
    return ", ".join(_TEXTS[step[0]](*step[1:]) for step in steps)
