"""Rules that say more than a value: multipliers of the optimizer, and scales by role."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from initcfg._model import Roles, TensorRole
from initcfg._plan.assignment import Assignment
from initcfg._plan.export.cells import View
from initcfg._plan.export.drafts import one_or_list
from initcfg._plan.export.patterns import literal
from initcfg._plan.planner import RoleRequest
from initcfg.values import FromCheckpoint, Value

# What a plan says of a model's numbers; the base of a scheme is not in it.
_KNOWN = frozenset({"layers", "layer", "residuals", "fan_in", "fan_out"})


def marked_rules(view: View, *, by_role: bool) -> tuple[list[dict[str, Any]], View]:
    """Rules for tensors that have multipliers, or (``by_role``) a scale by a role; and what is left to say.

    A role is written only where it was seen: one that was declared, a config would have to declare again.
    """
    rules: list[tuple[int, dict[str, Any]]] = []
    said: set[int] = set()
    groups: dict[str, set[int]] = {}
    for number, item in _items(view) if by_role else ():
        if _has_seen_scale(item) and item.scaling is not None:
            rule = {**_cfg(view, number, item.scaling.value), "scale": item.scaling.text}
            # What multiplies the optimizer's numbers may be of the tensor's own shape.
            key = json.dumps(rule | ({"tune": dict(item.tune)} if item.tune else {}))
            groups.setdefault(key, set()).add(number)
    for key, numbers in groups.items():
        role = _role_of(view, numbers)
        if role is not None:
            rules.append((min(numbers), {**json.loads(key), "role": role}))
            said |= numbers
    groups = {}
    for number, item in _items(view):
        if item.tune and number not in said:
            key = json.dumps({**_cfg(view, number, item.value), "tune": dict(item.tune)})
            groups.setdefault(key, set()).add(number)
    for key, numbers in groups.items():
        found = view.parameter_names.cover(sum(1 << number for number in numbers))
        names = found or [literal(view.canonical(number)) for number in sorted(numbers)]
        rules.append((min(numbers), {**json.loads(key), "param": one_or_list(names)}))
        said |= numbers
    wanted = [None if number in said else value for number, value in enumerate(view.wanted)]
    ordered = [rule for _, rule in sorted(rules, key=lambda each: each[0])]
    return ordered, replace(view, wanted=wanted, given=view.given | said)


def known_roles(view: View) -> RoleRequest:
    """The roles that the plan knows, for planning its rules without looking at the model again."""
    tensors: dict[str, TensorRole] = {}
    for _, item in _items(view):
        if item.role is not None:
            numbers = {} if item.scaling is None else item.scaling.numbers
            residuals = int(numbers["residuals"]) if "residuals" in numbers else None
            role = item.role
            tensors[item.name] = TensorRole(
                role.roles, role.how, role.layer, layers=role.layers, residuals=residuals
            )
    return RoleRequest(known=Roles(tensors))


def _items(view: View) -> Iterator[tuple[int, Assignment]]:
    """The parameters that rules have to reach, but for those of a checkpoint."""
    for number, (item, value) in enumerate(zip(view.assignments, view.wanted, strict=True)):
        reached = value is not None and number in view.single and not view.is_buffer(number)
        if item is not None and reached and not isinstance(value, FromCheckpoint):
            yield number, item


def _has_seen_scale(item: Assignment) -> bool:
    seen = item.role is not None and item.role.how == "seen" and bool(item.role.roles)
    return seen and item.scaling is not None and _KNOWN.issuperset(item.scaling.numbers)


def _cfg(view: View, number: int, value: Value) -> dict[str, Any]:
    return dict(view.specs.explain(view.single[number][0].layout, value)[0].cfg)


def _role_of(view: View, numbers: set[int]) -> str | list[str] | None:
    """A role, or several, that these tensors have, and no other."""
    having: dict[str, set[int]] = {}
    for number, item in enumerate(view.assignments):
        for role in item.role.roles if item is not None and item.role is not None else ():
            having.setdefault(role, set()).add(number)
    # Depth counts what ends a residual branch, whatever else it is.
    fitting = sorted((role for role, those in having.items() if those <= numbers), key="residual_out".__ne__)
    chosen: list[str] = []
    left = set(numbers)
    while left and fitting:
        most = max(fitting, key=lambda role: len(having[role] & left))
        if not having[most] & left:
            return None
        chosen.append(most)
        left -= having[most]
    return None if left or not chosen else one_or_list(chosen)
