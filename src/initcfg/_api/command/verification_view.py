"""How a verification is shown: what is alike in one line."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from initcfg._apply import Verification, Verified
from initcfg._plan.report import mask, merge_names
from initcfg.errors import plural

_WORDS = {
    "initial": "as initialized",
    "changed": "changed",
    "unknown": "not said by the plan",
    "missing": "missing",
    "unplanned": "not in the plan",
    "shape": "of another shape",
}


def verification_view(found: Verification, *, full: bool = False) -> RenderableType:
    """The whole view: a line for tensors that are alike, and the totals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (
        ("tensor", "left"),
        ("×", "right"),
        ("", "left"),
        ("change", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for group in _groups(found.tensors, full=full):
        first = group[0]
        changes = [each.change for each in group if each.change is not None and each.status == "changed"]
        ends = [f"{end(changes):.2g}" for end in (min, max)] if changes else []
        change = "" if any(map(math.isnan, changes)) else "…".join(dict.fromkeys(ends))
        table.add_row(
            merge_names([each.name for each in group]),
            str(len(group)) if len(group) > 1 else "",
            Text(_WORDS[first.status], style="" if first.status in ("initial", "unknown") else "yellow"),
            change,
            Text(_remark(group), style="red" if first.nan or first.inf else ""),
        )
    return Group(table, Text(), Text(summary(found), style="bold"))


def summary(found: Verification) -> str:
    """The totals in one sentence."""
    counts = found.counts()
    parts = [f"{counts[status]:,} {word}" for status, word in _WORDS.items() if counts.get(status)]
    if counts.get("not finite"):
        parts.append(f"{counts['not finite']:,} with NaN or infinity")
    return f"{plural(len(found.tensors), 'tensor')} (seed {found.seed}): {', '.join(parts)}."


def _remark(group: list[Verified]) -> str:
    nan, inf = sum(each.nan for each in group), sum(each.inf for each in group)
    parts = [f"{nan:,} NaN"] if nan else []
    parts += [f"{inf:,} infinite"] if inf else []
    details = dict.fromkeys(each.detail for each in group if each.detail)
    return "; ".join([*parts, *details])


def _groups(tensors: Iterable[Verified], *, full: bool) -> list[list[Verified]]:
    groups: dict[object, list[Verified]] = {}
    for number, each in enumerate(tensors):
        bad = bool(each.nan), bool(each.inf)
        key = number if full else (mask(each.name), each.status, bad, each.detail)
        groups.setdefault(key, []).append(each)
    return list(groups.values())
