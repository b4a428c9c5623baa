"""The account of checkpoints for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from initcfg._plan.assignment import Assignment
from initcfg._plan.loads import Load
from initcfg.errors import plural
from initcfg.values import Keep

if TYPE_CHECKING:
    from initcfg._plan.plan import Plan

_FIRST = 3


def load_lines(plan: Plan, *, full: bool) -> list[Text]:
    """What each checkpoint gives and does not give: counts and the first names, or all of them."""
    lines: list[Text] = []
    for load in plan.loads:
        lines += _lines(plan, load, full)
    return lines


def _lines(plan: Plan, load: Load, full: bool) -> list[Text]:
    if load.problem:
        return [Text(f"checkpoint   {load.rule}: {load.problem}", style="red")]
    accounts: list[tuple[str, Sequence[Any]]] = [
        ("adapted", [f"{name} ({how})" for name, how in load.adapted]),
        ("missing", [_instead(plan, name) for name in load.missing]),
        ("unexpected", load.unexpected),
        (
            "of another shape or type",
            [f"{_instead(plan, name)}, {_shape(there)} there" for name, _, there in load.mismatched],
        ),
        ("excluded", [_instead(plan, name) for name in load.excluded]),
        ("renamed", [f"{key} → {name}" for key, name in load.renamed]),
        ("converted", [f"{count} from {there} to {here}" for there, here, count in load.converted]),
    ]
    counts = [
        f"{sum(each[2] for each in load.converted) if what == 'converted' else len(names)} {what}"
        for what, names in accounts
        if names
    ]
    odd = bool(load.missing or load.unexpected or load.mismatched)
    head = f"checkpoint   {load.rule}: {plural(load.loaded, 'tensor')} from {load.source}"
    if load.wrapping:
        head += f" ({', '.join(load.wrapping)} taken off)"
    lines = [Text(", ".join([head, *counts]) + ".", style="yellow" if odd else "")]
    for what, names in accounts:
        shown = list(names) if full or len(names) <= _FIRST else list(names[:_FIRST])
        if names and len(shown) < len(names):
            shown.append(f"... and {len(names) - len(shown):,} more")
        lines += [
            Text(f"  {what if index == 0 else '':<24}  {name}") for index, name in enumerate(map(str, shown))
        ]
    hints = load.hints if full else load.hints[:_FIRST]
    return lines + [Text(f"  perhaps                   {each}", style="yellow") for each in hints]


def _instead(plan: Plan, name: str) -> str:
    """A tensor that the checkpoint does not give, with what it gets."""
    item: Assignment | None = plan[name] if name in plan.aliases or name in plan else plan.buffers.get(name)
    if item is None or isinstance(item.value, Keep):
        return f"{name}: keeps its constructor's value"
    by = item.rule or (item.default.rule if item.default else None)
    return f"{name}: {item.value}" + (f" by {by}" if by else "")


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"
