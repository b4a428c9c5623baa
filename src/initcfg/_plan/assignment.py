"""Assignments: what a plan says of one tensor, and of one rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from initcfg._plan.frozen import NOTHING, Frozen, renamed
from initcfg._rules import Place, WrittenAt
from initcfg.values import Layout, Value


@dataclass(frozen=True)
class Scaling(Frozen):
    """How a rule multiplied what its initializer gave.

    Attributes:
        text: The expression as it was written.
        numbers: The names in it, each with its number for this tensor.
        factor: What it comes to.
        value: What was multiplied.
    """

    text: str
    numbers: Mapping[str, float]
    factor: float
    value: Value


@dataclass(frozen=True)
class Role(Frozen):
    """What a tensor does in its model.

    Attributes:
        roles: All that it has.
        how: ``"declared"``, ``"seen"`` or ``"guessed"``.
        layer: Index of its block, from 0.
        layers: Number of blocks.
    """

    roles: tuple[str, ...]
    how: Literal["declared", "seen", "guessed"]
    layer: int | None = None
    layers: int | None = None


@dataclass(frozen=True)
class Shadowed(Frozen):
    """A write that a later one overrides.

    Attributes:
        rule: Path of the rule that asked for it.
        value: What it would have written.
        initializer: The initializer as JSON data.
        scaling: How its rule multiplied that.
        tune: Multipliers of the optimizer's numbers that go with it.
    """

    rule: str
    value: Value
    initializer: Mapping[str, Any] | None = None
    scaling: Scaling | None = None
    tune: Mapping[str, float | str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class Assignment(Frozen):
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
        scaling: How its rule multiplied what the initializer gave.
        tune: Multipliers of the optimizer's numbers for it: ``{"lr": 0.25}``; and of which ``optimizer``,
            if of one alone. The last rule that has some says them, whichever writes the value.
        role: What it does in the model, where some rule asked for roles.
        computed: In a finished plan: how a batch of data led to the value.
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
    scaling: Scaling | None = None
    tune: Mapping[str, float | str] = field(default_factory=lambda: NOTHING)
    role: Role | None = None
    computed: str | None = None
    layout: Layout | None = field(default=None, compare=False)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def named(self, name: str) -> Assignment:
        """The same for another tensor."""
        return renamed(self, name)

    @property
    def write(self) -> Shadowed | None:
        """What its rule wrote; None if no rule did."""
        if self.rule is None:
            return None
        return Shadowed(self.rule, self.value, self.initializer, self.scaling, self.tune)


@dataclass(frozen=True)
class Before:
    """A tensor as the model has it before its own code runs: shape and data type."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Unused:
    """A rule that reached nothing: its path, the entry as it was written, and why."""

    rule: str
    cfg: str
    reason: str


@dataclass(frozen=True)
class RuleNote:
    """What a plan remembers of a rule: the entry, and where it was written, which makes no difference."""

    cfg: str
    written: str | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RuleNote) and self.cfg == other.cfg

    def __hash__(self) -> int:
        return hash(self.cfg)


class _LateNote(RuleNote):
    """One whose place in code is looked up when it is asked for."""

    def __init__(self, cfg: str, place: Place) -> None:
        object.__setattr__(self, "cfg", cfg)
        object.__setattr__(self, "_place", place)

    @property
    def written(self) -> str:  # type: ignore[override]
        """File and line."""
        return str(self.__dict__["_place"])

    def __reduce__(self) -> Any:
        return RuleNote, (self.cfg, self.written)


def rule_note(cfg: str, written: WrittenAt | None) -> RuleNote:
    """The note of a rule that was written there."""
    return _LateNote(cfg, written) if isinstance(written, Place) else RuleNote(cfg, written)


def effect(assignment: Assignment | None) -> tuple[Any, ...] | None:
    """What of an assignment makes a difference to the model."""
    if assignment is None:
        return None
    return assignment.shape, assignment.dtype, assignment.value, dict(assignment.tune)
