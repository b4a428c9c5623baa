"""The initializer that says a value itself, for what no other initializer can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from initcfg._rules.initializers.original import BaseInit
from initcfg._rules.initializers.registry import INITIALIZERS
from initcfg.errors import ArgumentError, PlanError, TensorError
from initcfg.values import (
    Computed,
    CopyOf,
    Keep,
    Layout,
    Opaque,
    PaddingRow,
    Parts,
    Value,
    from_json,
    shape_problem,
    to_json,
)


@INITIALIZERS.register_module(name="Value")
class ValueInit(BaseInit):
    """Exactly this value, whatever the layer: the tensor is filled with what ``value`` says.

    It is a value of a plan, as its JSON has it. Fused parts, padding rows and fans are no matter here: what
    is not written is not there.

    Args:
        value: A dict with ``kind``, the name of a value of :mod:`initcfg.values`, and its numbers by name; or
            such a value itself.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> halves = dict(kind="Parts", dim=0, sizes=[2, 1],
        ...               values=[dict(kind="Constant", val=1), dict(kind="Normal", mean=0, std=0.02)])
        >>> rule = dict(type="Value", param="weight", value=halves)
        >>> print(initcfg.plan(nn.Linear(2, 3), rule)["weight"].value)
        [Constant(1) | Normal(mean=0, std=0.02)]
    """

    def __init__(self, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._value = _with_types(value if isinstance(value, Value) else _read(value))

    def arguments(self) -> dict[str, Any]:
        return {"value": to_json(self._value)}

    def value(self, layout: Layout) -> Value:
        found = _problem(self._value, layout.shape)
        if found is not None:
            raise TensorError(
                f"{self._value} cannot be made: {found}.", fix="Correct the value, or what the rule selects."
            )
        return self._value

    def resolve(self, layout: Layout) -> Value:
        """The value itself, without regard to parts and padding rows."""
        return self.value(layout)


def _read(data: Any) -> Value:
    try:
        return from_json(_plain(data))
    except PlanError as error:
        raise ArgumentError(
            error.problem,
            meant=error.meant,
            fix="Write a value as a plan has it: dict(kind='Normal', mean=0.0, std=0.02).",
        ) from error


def _plain(item: Any) -> Any:
    """Without the dicts of config files."""
    if isinstance(item, Mapping):
        return {key: _plain(each) for key, each in item.items()}
    return [_plain(each) for each in item] if isinstance(item, (list, tuple)) else item


def _with_types(value: Value) -> Value:
    """The value, its numbers of the types that its kind has."""
    if isinstance(value, (Keep, Computed, Opaque)):
        raise ArgumentError(f"{value} is nothing that a rule can write.", fix="Exclude the tensor instead.")
    made: dict[str, Any] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        made[field.name] = _typed(str(field.type), item, f"{field.name} of {value.kind}")
    return type(value)(**made)


def _typed(annotation: str, item: Any, what: str) -> Any:
    wrong = ArgumentError(f"The {what} is {item!r}, and should be of type {annotation}.")
    inner, is_tuple = (
        annotation.removeprefix("tuple[").removesuffix(", ...]"),
        annotation.startswith("tuple["),
    )
    if is_tuple and inner in _CHECKS:
        if not isinstance(item, tuple):
            raise wrong
        return tuple(_typed(inner, each, what) for each in item)
    check = _CHECKS.get(annotation)
    if check is None:
        return item
    if not isinstance(item, check) or isinstance(item, bool):
        raise wrong
    if isinstance(item, Value):
        return _with_types(item)
    return float(item) if annotation == "float" else item


_CHECKS: dict[str, Any] = {"float": (int, float), "int": int, "str": str, "Value": Value}


def _problem(value: Value, shape: Sequence[int]) -> str | None:
    """Why a value, with those inside it, has no meaning for a tensor of ``shape``."""
    if isinstance(value, Parts):
        return _parts_problem(value, shape)
    if isinstance(value, PaddingRow):
        if not shape or not 0 <= value.index < shape[0]:
            return f"there is no row {value.index} in a tensor of shape {tuple(shape)}"
        return _problem(value.value, shape)
    if isinstance(value, CopyOf):
        return _problem(value.value, shape)
    return shape_problem(value, shape)


def _parts_problem(value: Parts, shape: Sequence[int]) -> str | None:
    if not 0 <= value.dim < len(shape):
        return f"a tensor of {len(shape)} dimensions has no dimension {value.dim}"
    if len(value.sizes) != len(value.values):
        return f"it has {len(value.sizes)} sizes for {len(value.values)} values"
    if min(value.sizes, default=0) < 0 or sum(value.sizes) != shape[value.dim]:
        return f"its sizes {value.sizes} do not make the {shape[value.dim]} along dimension {value.dim}"
    for size, each in zip(value.sizes, value.values, strict=True):
        found = _problem(each, (*shape[: value.dim], size, *shape[value.dim + 1 :]))
        if found is not None:
            return found
    return None
