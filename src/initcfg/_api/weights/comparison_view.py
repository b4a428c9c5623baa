"""What differs between the numbers of two checkpoints, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from initcfg._plan.report import mask, merge_names
from initcfg.errors import add_row, line, new_table, plural, stacked

if TYPE_CHECKING:
    from rich.console import RenderableType

    from initcfg._api.weights.comparison import TensorChange, WeightsComparison

_WORDS = {
    "changed": "changed",
    "type": "other data type",
    "shape": "other shape",
    "unreadable": "not compared",
}
COLUMNS = ("tensor", "×", "", "change", "largest", "differ", "")
Side = tuple[tuple[int, ...], str]


def weights_view(found: WeightsComparison, *, full: bool = False) -> RenderableType:
    """A row for tensors that changed alike, what one side alone has, and how much is alike."""
    views: list[RenderableType] = []
    if found.changed:
        table = new_table()
        for title in COLUMNS:
            right = title in ("×", "change", "largest", "differ")
            table.add_column(title, justify="right" if right else "left", overflow="fold")
        for group in groups(found.changed, full=full):
            add_row(table, *cells(group))
        views += [table, line()]
    for side, items in (("A", found.only_a), ("B", found.only_b)):
        for names in _alike(items, full=full):
            facts = dict.fromkeys(_facts(items[name]) for name in names)
            counted = f"  ×{len(names)}" if len(names) > 1 else ""
            views.append(
                line(f"only in {side}    {merge_names(names)}{counted}  {', '.join(list(facts)[:2])}")
            )
    for side, prefix in (("A", found.prefix_a), ("B", found.prefix_b)):
        if prefix:
            views.append(line(f"taken off    {prefix!r} before the keys of {side}"))
    return stacked(*views, line(summary(found), style="bold"))


def summary(found: WeightsComparison) -> str:
    """The totals in one sentence."""
    alike = f"{plural(found.alike, 'tensor')} {'holds' if found.alike == 1 else 'hold'} the same numbers"
    if found.same:
        return f"Nothing differs: {alike}."
    counts = {
        word: sum(each.status == status for each in found.changed.values()) for status, word in _WORDS.items()
    }
    counts |= {"only in A": len(found.only_a), "only in B": len(found.only_b)}
    listed = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    return f"{listed}; {alike}."


def groups(changed: Mapping[str, TensorChange], *, full: bool) -> list[list[TensorChange]]:
    """Those that changed alike: of names that differ in numbers alone."""
    found: dict[object, list[TensorChange]] = {}
    for name, each in changed.items():
        bad = any((*each.nan, *each.inf))
        detail = each.detail.partition(", to a norm")[0]
        key = name if full else (mask(name), each.status, each.a[1], each.b[1], bad, detail)
        found.setdefault(key, []).append(each)
    return list(found.values())


def cells(group: Sequence[TensorChange]) -> tuple[str, ...]:
    """A row of the table."""
    first = group[0]
    known = first.status in ("changed", "type")
    elements = sum(each.elements for each in group)
    part = sum(each.differing for each in group) / elements if known and elements else None
    return (
        merge_names([each.name for each in group]),
        str(len(group)) if len(group) > 1 else "",
        _WORDS[first.status],
        span([each.change for each in group]),
        span([each.largest for each in group]),
        "" if part is None else f"{part:.3g}" if 0 < part < 0.0995 else f"{part:.0%}",
        remark(group),
    )


def span(numbers: Sequence[float | None]) -> str:
    """From the least to the greatest."""
    known = [each for each in numbers if each is not None]
    return "…".join(dict.fromkeys(f"{end(known):.2g}" for end in (min, max))) if known else ""


def remark(group: Sequence[TensorChange]) -> str:
    """What the numbers of a row do not say."""
    first = group[0]
    parts: list[str] = []
    for what, sides in (("NaN", [each.nan for each in group]), ("infinite", [each.inf for each in group])):
        here, there = (sum(each[side] for each in sides) for side in (0, 1))
        if here or there:
            parts.append(f"{here:,} → {there:,} {what}")
    if first.status == "shape":
        parts.append(f"{_shape(first.a)} → {_shape(first.b)}")
    if first.a[1] != first.b[1]:
        parts.append(f"{first.a[1]} → {first.b[1]}")
    parts += dict.fromkeys(each.detail for each in group[:1] if each.detail)
    return ", ".join(parts)


def _alike(items: Mapping[str, Side], *, full: bool) -> list[list[str]]:
    found: dict[object, list[str]] = {}
    for name in items:
        found.setdefault(name if full else mask(name), []).append(name)
    return list(found.values())


def _facts(side: Side) -> str:
    return f"{_shape(side)} {side[1]}"


def _shape(side: Side) -> str:
    return "×".join(map(str, side[0])) or "scalar"
