"""The initializer that takes a value literally, for what no other initializer can say."""

from __future__ import annotations

from typing import Any

from initcfg._rules.initializers.arguments import plain_data, possible
from initcfg._rules.initializers.base import INITIALIZERS, BaseInit
from initcfg.errors import ArgumentError, PlanError
from initcfg.values import (
    Computed,
    FromBatch,
    Keep,
    Layout,
    Opaque,
    Value,
    declared_types,
    from_json,
    to_json,
)


@INITIALIZERS.register_module(name="Value")
class ValueInit(BaseInit):
    """Exactly this value, whatever the layer: the tensor is filled with what ``value`` says.

    It is a value of a plan, as its JSON has it. Fused parts, padding rows and fans of the layer play no
    part: the value is taken as it is.

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
        try:
            read = from_json(to_json(value) if isinstance(value, Value) else plain_data(value))
        except PlanError as error:
            fix = "Write a value as a plan has it: dict(kind='Normal', mean=0.0, std=0.02)."
            raise ArgumentError(error.problem, fix=fix) from error
        self._value = _writable(read)

    def arguments(self) -> dict[str, Any]:
        return {"value": to_json(self._value)}

    def value(self, layout: Layout) -> Value:
        return possible(self._value, layout, "Correct the value, or what the rule selects.")

    def resolve(self, layout: Layout) -> Value:
        """The value itself, without regard to parts and padding rows."""
        return self.value(layout)


def _writable(value: Value) -> Value:
    """The value, with floats where whole numbers were written for them."""
    if isinstance(value, (Keep, Computed, FromBatch, Opaque)):
        raise ArgumentError(f"{value} is nothing that a rule can write.", fix="Exclude the tensor instead.")

    def item_of(name: str, type_: Any) -> Any:
        item = value.args[name]
        if isinstance(item, tuple):
            return tuple(_writable(each) if isinstance(each, Value) else each for each in item)
        if isinstance(item, Value):
            return _writable(item)
        return float(item) if type_ is float else item

    return type(value)(**{name: item_of(name, type_) for name, type_ in declared_types(type(value)).items()})
