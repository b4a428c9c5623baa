"""Assignments: what a plan says of one tensor, and of one rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from initcfg.values import Value, from_json, number_to_json, to_json

if TYPE_CHECKING:
    from initcfg.values import Layout


@dataclass(frozen=True)
class Shadowed:
    """A write that a later one overrides.

    Attributes:
        rule: Path of the rule that asked for it.
        value: What it would have written.
        initializer: The initializer as JSON data.
    """

    rule: str
    value: Value
    initializer: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Assignment:
    """What one tensor gets.

    Attributes:
        name: Canonical name.
        shape: Global shape; of a parametrized weight, the shape that the layer sees.
        dtype: Data type: ``"float32"``.
        value: The value.
        initializer: Type and arguments of the initializer that gave it; None if no rule did.
        rule: Path of the rule that gave it; None if no rule did.
        shadowed: Earlier writes that this one overrides, first to last.
        frozen: Whether the parameter has ``requires_grad=False``.
        default: In a model that was built deferred: what its constructor meant to write, with the
            constructor in the place of the rule.
        layout: Meaning of the axes, for fans; None where no rule asked, or in a plan from JSON.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    value: Value
    initializer: Mapping[str, Any] | None = None
    rule: str | None = None
    shadowed: tuple[Shadowed, ...] = ()
    frozen: bool = False
    default: Shadowed | None = None
    layout: Layout | None = field(default=None, compare=False)

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Unused:
    """A rule that reached nothing.

    Attributes:
        rule: Its path.
        cfg: The entry as it was written.
        reason: Why.
    """

    rule: str
    cfg: str
    reason: str


@dataclass(frozen=True)
class RuleNote:
    """What a plan remembers of a rule: the entry, and where it was written."""

    cfg: str
    written: str | None = None


def effect(assignment: Assignment | None) -> tuple[Any, ...] | None:
    """What of an assignment makes a difference to the model."""
    if assignment is None:
        return None
    return assignment.shape, assignment.dtype, assignment.value


def content_of(item: Assignment) -> list[Any]:
    return [list(item.shape), item.dtype, to_json(item.value)]


def digest_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# -- JSON ----------------------------------------------------------------------------------------


def assignment_to_json(item: Assignment) -> dict[str, Any]:
    return {
        "shape": list(item.shape),
        "dtype": item.dtype,
        "value": to_json(item.value),
        "initializer": _numbers(item.initializer),
        "rule": item.rule,
        "shadowed": [_shadowed_to_json(each) for each in item.shadowed],
        **({"frozen": True} if item.frozen else {}),
        **({"default": _shadowed_to_json(item.default)} if item.default else {}),
    }


def _shadowed_to_json(item: Shadowed) -> dict[str, Any]:
    return {"rule": item.rule, "value": to_json(item.value), "initializer": _numbers(item.initializer)}


def _shadowed(data: Mapping[str, Any]) -> Shadowed:
    return Shadowed(data["rule"], from_json(data["value"]), data.get("initializer"))


def _numbers(initializer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if initializer is None:
        return None
    return {key: number_to_json(item) for key, item in initializer.items()}


def assignment_from_json(name: str, data: Mapping[str, Any]) -> Assignment:
    return Assignment(
        name=name,
        shape=tuple(data["shape"]),
        dtype=data["dtype"],
        value=from_json(data["value"]),
        initializer=data["initializer"],
        rule=data["rule"],
        shadowed=tuple(map(_shadowed, data["shadowed"])),
        frozen=bool(data.get("frozen", False)),
        default=_shadowed(data["default"]) if data.get("default") else None,
    )
