"""A comparison for a person: tensors that differ alike are one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from initcfg._plan.assignment import Assignment
from initcfg._plan.compare.comparison import Comparison, Pair
from initcfg._plan.report import PlanRows, mask, merge_names, merge_texts, rows, shape_of_value, value_text
from initcfg.errors import plural
from initcfg.values import Value, to_json

_SETTINGS = {"rng": "generator", "seed": "seed", "stream_version": "version of the stream"}


def diff_view(found: Comparison, *, full: bool = False) -> RenderableType:
    """The whole view: what changed, what one side alone has, and how much is alike."""
    parts: list[RenderableType] = []
    if found.changed:
        parts += [_DiffRows([_line(group) for group in _groups(found.changed, full=full)]), Text()]
    for side, items in (("A", found.only_a), ("B", found.only_b)):
        if items:
            parts += [Text(f"only in {side}", style="bold")]
            parts += [PlanRows(rows(items.values(), full=full)), Text()]
    for name, (a, b) in found.tied.items():
        side, to = ("A", a) if a is not None else ("B", b)
        parts.append(Text(f"tied         {name}: in {side} it is {to}, on the other side its own tensor"))
    for reason, names in _by_reason(found.reasons, full=full).items():
        parts.append(Text(f"why          {', '.join(names)}: {reason}"))
    for name, (a, b) in found.settings.items():
        parts.append(Text(f"{_SETTINGS[name]}: {a} → {b}", style="yellow"))
    return Group(*parts, Text(summary(found), style="bold"))


def summary(found: Comparison) -> str:
    """The totals in one sentence.

    Example:
        >>> from initcfg._plan.compare.comparison import Comparison
        >>> from initcfg._plan.compare.view import summary
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
                *((shape_of_value(item.value), item.dtype, len(item.shape)) for item in (a, b)),
                *(a.shape != b.shape, a.value != b.value),
            )
        groups.setdefault(key, {})[name] = (a, b)
    return list(groups.values())


def _line(group: Mapping[str, Pair]) -> tuple[str, int, str, str]:
    """Name, count, and what A and B say: only what differs of value, shape and data type."""
    a, b = ([pair[side] for pair in group.values()] for side in (0, 1))
    texts: tuple[list[str], list[str]] = ([], [])
    if any(left.value != right.value for left, right in zip(a, b, strict=True)):
        both = [_values(item.value for item in items) for items in (a, b)]
        if both[0] == both[1]:
            # They differ in digits that are not shown.
            both = ["; ".join(dict.fromkeys(_exact(item.value) for item in items)) for items in (a, b)]
        for text, found in zip(texts, both, strict=True):
            text.append(found)
    for kind in (_shapes, _dtypes):
        shown = kind(a), kind(b)
        if shown[0] != shown[1] or (kind is _shapes and a[0].shape != b[0].shape):
            for text, found in zip(texts, shown, strict=True):
                text.append(found)
    return merge_names(list(group)), len(group), ", ".join(texts[0]), ", ".join(texts[1])


def _values(values: Iterable[Value]) -> str:
    return merge_texts([value_text(value) for value in values])


def _exact(value: Value) -> str:
    return ", ".join(f"{key}={item}" if key != "kind" else str(item) for key, item in to_json(value).items())


def _shapes(items: Sequence[Assignment]) -> str:
    return merge_texts(["×".join(map(str, item.shape)) or "scalar" for item in items])


def _dtypes(items: Sequence[Assignment]) -> str:
    return items[0].dtype


def _by_reason(reasons: Mapping[str, str], *, full: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, []).append(name)
    if full:
        return found
    merged: dict[str, list[str]] = {}
    for reason, names in found.items():
        alike: dict[str, list[str]] = {}
        for name in names:
            alike.setdefault(mask(name), []).append(name)
        merged[reason] = [merge_names(each) for each in alike.values()]
    return merged


class _DiffRows:
    """The lines as a table where the terminal is wide enough for one, and as three lines each where not."""

    def __init__(self, lines: Sequence[tuple[str, int, str, str]]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich calls to draw this."""
        table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
        for title in ("parameter", "×", "A", "", "B"):
            table.add_column(title, no_wrap=True, justify="right" if title == "×" else "left")
        for name, count, a, b in self.lines:
            table.add_row(escape(name), str(count) if count > 1 else "", escape(a), "→", escape(b))
        if Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width:
            yield table
            return
        for name, count, a, b in self.lines:
            yield Text(name + (f"  ×{count}" if count > 1 else ""), style="bold")
            yield Text(f"    {a}")
            yield Text(f"  → {b}")
