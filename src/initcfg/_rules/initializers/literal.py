"""The initializer that says a value itself, for what no other initializer can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from initcfg._rules.initializers.arguments import plain_data
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
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
    declared_types,
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
        self._value = _writable(_read(to_json(value) if isinstance(value, Value) else value))

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
        return from_json(plain_data(data))
    except PlanError as error:
        raise ArgumentError(
            error.problem, fix="Write a value as a plan has it: dict(kind='Normal', mean=0.0, std=0.02)."
        ) from error


def _writable(value: Value) -> Value:
    """The value, with floats where whole numbers were written for them."""
    if isinstance(value, (Keep, Computed, Opaque)):
        raise ArgumentError(f"{value} is nothing that a rule can write.", fix="Exclude the tensor instead.")

    def item_of(name: str, type_: Any) -> Any:
        item = value.args[name]
        if isinstance(item, tuple):
            return tuple(_writable(each) if isinstance(each, Value) else each for each in item)
        if isinstance(item, Value):
            return _writable(item)
        return float(item) if type_ is float else item

    return type(value)(**{name: item_of(name, type_) for name, type_ in declared_types(type(value)).items()})


def _problem(value: Value, shape: Sequence[int]) -> str | None:
    """Why a value, with those inside it, has no meaning for a tensor of ``shape``."""
    if isinstance(value, Parts):
        return _parts_problem(value, shape)
    if isinstance(value, PaddingRow) and not (shape and 0 <= value.index < shape[0]):
        return f"there is no row {value.index} in a tensor of shape {tuple(shape)}"
    if isinstance(value, (PaddingRow, CopyOf)):
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
