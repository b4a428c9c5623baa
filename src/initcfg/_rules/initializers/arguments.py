"""Checks of arguments and values that several initializers share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from initcfg.errors import ArgumentError, ArgumentValueError, TensorError, nearest
from initcfg.values import Layout, Value, shape_problem


def number(name: str, given: Any) -> float:
    """``given``, if it is a number that a float can hold."""
    if isinstance(given, bool):
        raise ArgumentError(
            f"{name} must be a number, not {given!r}.",
            fix="Write 1 or 0. YAML reads yes, no, on and off as true and false.",
        )
    if not isinstance(given, numbers.Real):
        raise ArgumentError(f"{name} must be a number, not {given!r}.", fix=_as_a_number(given))
    try:
        converted = float(given)
    except OverflowError as error:
        raise ArgumentError(f"{name} is beyond what a float can hold.", fix="Write a smaller one.") from error
    return given if isinstance(given, (int, float)) else converted


def _as_a_number(given: Any) -> str:
    """How to write what somebody wrote as a text: ``"1%"``, ``"0,02"``, ``"0.02"``."""
    if not isinstance(given, str):
        return "Write a number, such as 0.02."
    text = given.strip().replace(",", ".")
    scale = 0.01 if text.endswith("%") else 1.0
    try:
        meant = float(text.removesuffix("%"))
    except ValueError:
        return "Write a number, such as 0.02."
    return f"Write {f'{meant * scale:.12g}' if scale != 1 else text}, without quotes."


def finite(name: str, given: Any) -> float:
    """``given`` as a float, if it is a finite number."""
    converted = float(number(name, given))
    if not math.isfinite(converted):
        raise ArgumentValueError(f"{name} must be finite, not {given!r}.", fix="Write a finite number.")
    return converted


def whole_number(name: str, given: Any, least: int = 1) -> int:
    """``given``, if it is a whole number from ``least`` on."""
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ArgumentError(
            f"{name} must be a whole number from {least} on, not {given!r}.", fix=f"Write {least}, or more."
        )
    return given


def positive(name: str, given: Any) -> float:
    """``given`` as a float, if it is finite and above 0."""
    converted = finite(name, given)
    if converted <= 0:
        raise ArgumentValueError(f"{name} must be above 0, not {given!r}.", fix="Write a number above 0.")
    return converted


def standard_deviation(std: Any) -> float:
    """``std``, if it is a number from 0 on."""
    if number("std", std) < 0 or math.isnan(std):
        raise ArgumentValueError(
            f"A standard deviation is not negative, but std is {std}.", fix="Write a number from 0 on."
        )
    return std


def one_of(name: str, given: Any, known: tuple[str, ...]) -> str:
    """``given``, if it is one of the words that are known."""
    if given not in known:
        raise ArgumentValueError(
            f"{name} must be one of {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, not {given!r}.",
            meant=nearest(str(given), known),
            fix=f"Write {known[0]!r}, for one.",
        )
    return given


_WITH_GAIN = (
    *("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"),
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)


def gain_of(name: str, nonlinearity: Any, a: float | None) -> float:
    """torch's gain for the function that follows."""
    from torch.nn.init import calculate_gain

    try:
        return float(calculate_gain(nonlinearity, a))  # type: ignore[arg-type]
    except ValueError as error:
        raise ArgumentValueError(
            f"{name}={nonlinearity!r} names no function: {error}.",
            meant=nearest(str(nonlinearity), _WITH_GAIN),
            fix=f"Write one of {', '.join(map(repr, _WITH_GAIN))}.",
        ) from error


def plain_data(item: Any) -> Any:
    """What a config file gives, as dicts with keys of text, and lists."""
    if isinstance(item, Mapping):
        return {str(key): plain_data(each) for key, each in item.items()}
    return [plain_data(each) for each in item] if isinstance(item, (list, tuple)) else item


def possible(value: Value, layout: Layout, fix: str) -> Value:
    """``value``, if it has a meaning for a tensor of this layout."""
    found = shape_problem(value, layout.shape)
    if found is not None:
        raise TensorError(f"{value} cannot be made: {found}.", fix=fix)
    return value


def channels_first(layout: Layout, name: str) -> None:
    """For values that are laid out by place: kernels that store channels elsewhere would get another matrix.

    Raises:
        TensorError: The kernel has its outputs and inputs on other axes than torch's convolutions.
    """
    axes = {(0,), (1,)}
    if len(layout.shape) > 2 and layout.in_axis is not None and {layout.in_axis, layout.out_axis} != axes:
        raise TensorError(
            f"{name} places its numbers in kernels that have outputs and inputs on axes 0 and 1, and one "
            f"of shape {layout.shape} has them elsewhere.",
            fix="Give such layers another initializer; those that draw from a distribution know their axes.",
        )
