"""A comparison for a person: tensors that differ alike are one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from initcfg._plan.report.scaling import tune_text
from initcfg._plan.report.table import rows, rows_view
from initcfg._plan.report.words import (
    TableOrLines,
    count_text,
    mask,
    mask_value,
    merge_names,
    merge_texts,
    plain_table,
    shape_text,
    value_text,
)
from initcfg.errors import add_row, line, plural, stacked
from initcfg.values import Value, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from initcfg._plan.compare import Comparison, Pair

_SETTINGS = {"rng": "generator", "seed": "seed", "stream_version": "version of the stream"}


def diff_view(found: Comparison, *, full: bool = False) -> RenderableType:
    """The whole view: what changed, what one side alone has, and how much is alike."""
    views: list[RenderableType] = []
    if found.changed:
        views += [_changed_view(_groups(found.changed, full=full)), line()]
    for side, items in (("A", found.only_a), ("B", found.only_b)):
        if items:
            views += [line(f"only in {side}", style="bold")]
            views += [rows_view(rows(items.values(), full=full)), line()]
    for name, (a, b) in found.tied.items():
        side, to = ("A", a) if a is not None else ("B", b)
        views.append(line(f"tied         {name}: in {side} it is {to}, on the other side its own tensor"))
    for reason, names in _by_reason(found.reasons, full=full).items():
        views.append(line(f"why          {', '.join(names)}: {reason}"))
    for name, (a, b) in found.settings.items():
        views.append(line(f"{_SETTINGS[name]}: {a} → {b}", style="yellow"))
    return stacked(*views, line(summary(found), style="bold"))


def summary(found: Comparison) -> str:
    """The totals in one sentence.

    Example:
        >>> from initcfg._plan.compare.comparison import Comparison
        >>> from initcfg._plan.report.differing import summary
        >>> summary(Comparison({}, {}, {}, {}, {"seed": (1, 2)}, 152))
        'The seed differs; 152 tensors are planned alike.'
        >>> summary(Comparison({}, {}, {}, {}, {}, 1))
        'Nothing differs: 1 tensor is alike.'
    """
    alike = f"{plural(found.alike, 'tensor')} {'is' if found.alike == 1 else 'are'}"
    if found.same:
        return f"Nothing differs: {alike} alike."
    parts = [
        f"{len(items):,} {what}"
        for items, what in (
            (found.changed, "changed"),
            (found.only_a, "only in A"),
            (found.only_b, "only in B"),
            (found.tied, "tied on one side"),
        )
        if items
    ]
    if not parts:
        names = [_SETTINGS[name] for name in found.settings]
        listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        return f"The {listed} {'differs' if len(names) == 1 else 'differ'}; {alike} planned alike."
    return f"{', '.join(parts)}; {alike} alike."


def _groups(changed: Mapping[str, Pair], *, full: bool) -> list[dict[str, Pair]]:
    """The pairs that are alike: same names but for the numbers of layers, same kinds of values."""
    groups: dict[tuple[object, ...], dict[str, Pair]] = {}
    for name, (a, b) in changed.items():
        key: tuple[object, ...] = (name,)
        if not full:
            key = (
                mask(name),
                *((mask_value(item.value), item.dtype, len(item.shape)) for item in (a, b)),
                *(a.shape != b.shape, a.value != b.value, tune_text(a.tune), tune_text(b.tune)),
            )
        groups.setdefault(key, {})[name] = (a, b)
    return list(groups.values())


def _changed_view(groups: Iterable[Mapping[str, Pair]]) -> RenderableType:
    table = plain_table(("parameter", "×", "A", "", "B"))
    lines: list[Text] = []
    for group in groups:
        name, count, (a, b) = merge_names(list(group)), count_text(list(group)), _sides(group)
        add_row(table, name, count, a, "→", b)
        lines.append(line(name + (f"  ×{count}" if count else ""), style="bold"))
        lines += [line(f"    {a}"), line(f"  → {b}")]
    return TableOrLines(table, lines)


def changed_sides(changed: Mapping[str, Pair]) -> list[tuple[str, str, str, str]]:
    """Of the pairs that are alike: their names as one, how many, what A says and what B does."""
    return [
        (merge_names(list(group)), count_text(list(group)), *_sides(group))
        for group in _groups(changed, full=False)
    ]


def _sides(group: Mapping[str, Pair]) -> tuple[str, str]:
    """What A and B say: only what differs of value, shape and data type."""
    a, b = ([pair[side] for pair in group.values()] for side in (0, 1))
    differing: list[tuple[str, str]] = []
    if any(left.value != right.value for left, right in zip(a, b, strict=True)):
        here, there = (merge_texts([value_text(item.value) for item in items]) for items in (a, b))
        if here == there:
            # They differ in digits that are not shown.
            here, there = ("; ".join(dict.fromkeys(_exact(item.value) for item in items)) for items in (a, b))
        differing.append((here, there))
    here, there = (merge_texts([shape_text(item.shape) for item in items]) for items in (a, b))
    if here != there or a[0].shape != b[0].shape:
        differing.append((here, there))
    if a[0].tune != b[0].tune:
        here, there = (
            merge_texts([tune_text(item.tune) or "no multiplier" for item in items]) for items in (a, b)
        )
        differing.append((here, there))
    if a[0].dtype != b[0].dtype:
        differing.append((a[0].dtype, b[0].dtype))
    return ", ".join(left for left, _ in differing), ", ".join(right for _, right in differing)


def _exact(value: Value) -> str:
    return ", ".join(f"{key}={item}" if key != "kind" else str(item) for key, item in to_json(value).items())


def _by_reason(reasons: Mapping[str, str], *, full: bool) -> dict[str, list[str]]:
    """The names by reason; those that are alike as one."""
    found: dict[str, dict[object, list[str]]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, {}).setdefault(name if full else mask(name), []).append(name)
    return {reason: [merge_names(each) for each in alike.values()] for reason, alike in found.items()}
