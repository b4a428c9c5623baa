"""How a rule scaled a tensor, the optimizer's multipliers for it, and what it does, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from initcfg._plan.assignment import Assignment, Role, Scaling
from initcfg.values import Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_TIMES = re.compile(r"(?<!\*)\*(?!\*)")
# The number by which a kind is known, first to last.
_NUMBERS = ("std", "gain", "val", "b")
_MULTIPLIERS = {"lr": "lr", "weight_decay": "wd", "eps": "eps"}


def tune_text(tune: Mapping[str, float | str]) -> str:
    """Multipliers: ``lr ×0.25, wd ×4``."""
    numbers = ((key, item) for key, item in tune.items() if not isinstance(item, str))
    return ", ".join(f"{_MULTIPLIERS.get(key, key)} ×{number:.4g}" for key, number in numbers)


def scaling_lines(item: Assignment) -> list[str]:
    """How its scale came about, the multipliers, and its role; no lines where there is none of them."""
    facts: list[tuple[str, str]] = []
    if item.scaling is not None:
        facts.append(_product(item.value, item.scaling))
    if item.role is not None and item.role.roles:
        facts.append(("role", _role_text(item.role)))
    lines = [f"{label:<13}{text}" for label, text in facts]
    if item.tune:
        made_for = [f"of {item.tune['optimizer']}"] if "optimizer" in item.tune else []
        told = [tune_text(item.tune) or "no multiplier", *made_for]
        lines.append(f"optimizer    {' '.join(told)}")
    return lines


def _product(value: Value, scaling: Scaling) -> tuple[str, str]:
    """What was scaled, and how: ``std``, ``0.0040825 = 0.02 · 1/sqrt(2·12)``."""
    now, before = _number_of(value), _number_of(scaling.value)
    text = _TIMES.sub("·", _NAME.sub(lambda found: _shown(scaling.numbers, found[0]), scaling.text))
    if now is None or before is None or now[0] != before[0]:
        return "scale", f"{scaling.factor:.5g} = {text}"
    summed = "+" in text or "-" in text
    return now[0], f"{now[1]:.5g} = {before[1]:.5g} · {f'({text})' if summed else text}"


def _shown(numbers: Mapping[str, float], name: str) -> str:
    return f"{numbers[name]:.10g}" if name in numbers else name


def _number_of(value: Value) -> tuple[str, float] | None:
    args = value.args
    for name in _NUMBERS:
        if name in args:
            return name, args[name]
    inner = args.get("value", next(iter(args.get("values", ())), None))
    return _number_of(inner) if isinstance(inner, Value) else None


def _role_text(role: Role) -> str:
    place = "" if role.layer is None else f", layer {role.layer}"
    of = f" of {role.layers}" if place and role.layers is not None else ""
    return f"{', '.join(role.roles)} ({role.how}){place}{of}"
