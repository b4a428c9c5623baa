"""What verifying found, for a person: what is alike is shown in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from initcfg._plan.report import mask, merge_names
from initcfg.errors import add_row, line, new_table, plural, stacked

if TYPE_CHECKING:
    from rich.console import RenderableType

    from initcfg._apply.verifying.results import Verification, Verified

_WORDS = {
    "initial": "as initialized",
    "changed": "changed",
    "unknown": "not checked",
    "missing": "missing",
    "unplanned": "not in the plan",
    "shape": "of another shape",
}
_WRONG = ("changed", "missing", "shape")


def verification_view(found: Verification, *, full: bool) -> RenderableType:
    """A line for tensors that are alike, and the totals."""
    shown = new_table()
    for title in ("tensor", "×", "", "change", ""):
        shown.add_column(title, justify="right" if title in ("×", "change") else "left", overflow="fold")
    for group in _groups(found.tensors, full=full):
        first = group[0]
        changes = [each.change for each in group if each.change is not None and each.status == "changed"]
        ends = [f"{end(changes):.2g}" for end in (min, max)] if changes else []
        add_row(
            shown,
            merge_names([each.name for each in group]),
            str(len(group)) if len(group) > 1 else "",
            line(_WORDS[first.status], style="yellow" if first.status in _WRONG else ""),
            "…".join(dict.fromkeys(ends)),
            line(_remark(group), style="red" if first.nan or first.inf else ""),
        )
    changed = [
        line(f"{name} holds other bytes than were written: its SHA-256 is another.", style="red")
        for name in found.changed_files
    ]
    return stacked(shown, line(), *changed, line(_totals(found), style="bold"))


def _totals(found: Verification) -> str:
    counts = found.counts()
    parts = [f"{counts[status]:,} {word}" for status, word in _WORDS.items() if counts.get(status)]
    if counts.get("not finite"):
        parts.append(f"{counts['not finite']:,} with NaN or infinity")
    seed = "" if found.seed is None else f" (seed {found.seed})"
    return f"{plural(len(found.tensors), 'tensor')}{seed}: {', '.join(parts)}."


def _remark(group: list[Verified]) -> str:
    nan, inf = sum(each.nan for each in group), sum(each.inf for each in group)
    parts = [f"{nan:,} NaN"] if nan else []
    parts += [f"{inf:,} infinite"] if inf else []
    details = list(dict.fromkeys(each.detail for each in group if each.detail))
    return "; ".join([*parts, *details[:_MOST_DETAILS], *(["..."] if len(details) > _MOST_DETAILS else [])])


_MOST_DETAILS = 3


def _groups(tensors: Iterable[Verified], *, full: bool) -> list[list[Verified]]:
    groups: dict[object, list[Verified]] = {}
    for number, each in enumerate(tensors):
        bad = bool(each.nan), bool(each.inf)
        # Of what began as zero, the norm is another in each.
        detail = each.detail.partition(", to a norm")[0]
        key = number if full else (mask(each.name), each.status, bad, detail)
        groups.setdefault(key, []).append(each)
    return list(groups.values())
