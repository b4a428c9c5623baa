"""Blame: the rule that gave a tensor its value, where it was written, and whether the tensor still has it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from initcfg._diagnose.checks import TensorSeen
from initcfg._diagnose.facts import Finding
from initcfg._diagnose.sentences import PHRASES
from initcfg._plan import Assignment, Plan, Shadowed
from initcfg._record import Builder
from initcfg.values import (
    Computed,
    Constant,
    CopyOf,
    FromBatch,
    FromCheckpoint,
    Keep,
    Normal,
    Numbers,
    Opaque,
    Uniform,
    Value,
)

# Code is a rule that says where it stands: "model.py:14 build".
_PLACE = re.compile(r"(\S+:\d+)(?:\s|$)")
# What code changed after a draw says where, too: "linear.py:124 reset_parameters, then mul_ at model.py:8".
_THEN = re.compile(r"(.+), then (\w+) at (\S+:\d+)$")
_MANY = 6.0
_NO_DRAWS = (Keep, FromCheckpoint, Computed, Opaque, Numbers, FromBatch)


@dataclass(frozen=True)
class Origin:
    """Where a tensor's value is from.

    Attributes:
        rule: Path of the rule, or the code that takes its place.
        source: File and line.
        value: What it gave.
    """

    rule: str | None
    source: str | None
    value: str


def origins(
    plan: Plan | None,
    tensors: Mapping[str, TensorSeen],
    constructors: Mapping[str, Shadowed],
    builders: Mapping[str, Builder],
) -> dict[str, Origin]:
    """The origin of each tensor of which it is known.

    Args:
        constructors: What the constructors of layers usually write, for tensors that no rule reaches.
        builders: The code that may have filled them, where nothing is known of what it wrote.
    """
    found: dict[str, Origin] = {}
    for name, tensor in tensors.items():
        item = None if plan is None else _assignment(plan, name)
        origin = None if item is None or plan is None else _of_plan(plan, item, tensor)
        usual = constructors.get(name)
        if origin is None and usual is not None and holds(usual.value, tensor) is not False:
            origin = _origin(usual.rule, None, usual.value)
        if origin is None and name in builders:
            origin = _of_builder(builders[name], tensor)
        if origin is not None:
            found[name] = origin
    return found


def _of_builder(builder: Builder, tensor: TensorSeen) -> Origin:
    """A constructor has what it would have left, if that is there; else any code that may have written."""
    if builder.usual is not None and holds(builder.usual.value, tensor):
        return _origin(builder.usual.rule, None, builder.usual.value)
    code = builder.code[0]
    if len(builder.code) > 1:
        code = PHRASES.written("either", {"first": code, "second": builder.code[1]}, "en")
    return Origin(code, builder.source, PHRASES.written("as built", {"rms": f"{tensor.rms:.3g}"}, "en"))


def all_drawn(
    plan: Plan | None, tensors: Mapping[str, TensorSeen], constructors: Mapping[str, Shadowed]
) -> bool:
    """Whether every trained matrix is known to hold what was drawn for it, as nothing trained before does."""

    def drawn(name: str, tensor: TensorSeen) -> bool:
        item = None if plan is None else _assignment(plan, name)
        value = None if item is None else item.value if item.rule is not None else None
        if value is None and item is not None and item.default is not None:
            value = item.default.value
        if value is None and name in constructors:
            value = constructors[name].value
        value = value.value if isinstance(value, CopyOf) else value
        # Of some draws their size does not tell.
        told = None if value is None else holds(value, tensor)
        return told is True or (value is not None and told is None and not isinstance(value, _NO_DRAWS))

    matrices = [(name, each) for name, each in tensors.items() if each.trained and len(each.shape) > 1]
    return bool(matrices) and all(drawn(name, each) for name, each in matrices)


def _assignment(plan: Plan, name: str) -> Assignment | None:
    try:
        return plan[name]
    except KeyError:
        return None


def _of_plan(plan: Plan, item: Assignment, tensor: TensorSeen) -> Origin | None:
    if item.rule is not None:
        rule, value = item.rule, item.value
    elif item.default is not None:
        rule, value = item.default.rule, item.default.value
    else:
        return None
    note = plan.rules.get(rule)
    origin = _origin(rule, note.written if note else None, value)
    if holds(value, tensor) is False:
        return replace(
            origin, value=f"{origin.value}, and something has changed it since (RMS {tensor.rms:.3g})"
        )
    return origin


def _origin(rule: str, written: str | None, value: Value) -> Origin:
    changed = _THEN.match(rule)
    place = _PLACE.match(rule)
    if changed is not None:
        # The last writer is the one to look at; where the draw was stands beside it.
        first = changed[1] if place is None else f"{changed[1][place.end() :].strip()} ({place[1]})"
        return replace(_origin(f"{first}, then {changed[2]}", changed[3], value))
    if written is None and place is not None:
        written = place[1]
        rule = rule[place.end() :].strip() or rule
    text = str(value)
    return Origin(rule, written, text if len(text) <= 120 else f"{text[:117]}...")


def holds(value: Value, tensor: TensorSeen) -> bool | None:
    """Whether a tensor holds what a value would have given it; None where that cannot be told."""
    if isinstance(value, Constant):
        low, high = tensor.edges
        near = (
            1e-6 * max(1.0, abs(value.val)) if tensor.dtype == "float32" else 1e-2 * max(1.0, abs(value.val))
        )
        return abs(low - value.val) <= near and abs(high - value.val) <= near
    if isinstance(value, Normal):
        expected = math.hypot(value.mean, value.std)
    elif isinstance(value, Uniform):
        expected = math.sqrt((value.a**2 + value.a * value.b + value.b**2) / 3)
    else:
        return None
    size = math.prod(tensor.shape)
    if tensor.edges[0] == tensor.edges[1] and size > 1:
        # Nothing that is drawn is one number everywhere.
        return False
    return abs(tensor.rms - expected) <= expected * (_MANY / math.sqrt(2 * size) + 0.01)


def blamed(finding: Finding, known: Mapping[str, Origin]) -> Finding:
    """The finding, with the rule that gave the first of its tensors of which one is known."""
    name = next((each for each in finding.tensors if each in known), None)
    if name is None:
        return finding
    origin = known[name]
    tensors = (name, *(each for each in finding.tensors if each != name))
    return replace(finding, rule=origin.rule, source=origin.source, value=origin.value, tensors=tensors)
