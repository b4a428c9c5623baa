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
- ``("resize_grid", axis, height, width)``: positions that lie as an image does.

What they compute is in ``_stream/writing/adaptation.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from initcfg.errors import plural

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
}


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


def _resized(what: str, size: tuple[int, ...]) -> str:
    return f"{what} {size[0]}×{size[1]} → {size[2]}×{size[3]}"


def steps_text(steps: tuple[AdaptationStep, ...]) -> str:
    """Steps for a person.

    Example:
        >>> from initcfg.values.adaptation_steps import steps_text
        >>> steps_text((("inflate", "mean", 3), ("channels", 4)))
        'inflated to depth 3 by mean, input channels to 4'
    """
    try:
        return ", ".join(_TEXTS[step[0]](*step[1:]) for step in steps)
    except (KeyError, TypeError):
        return f"steps {steps!r}, which are not known"
