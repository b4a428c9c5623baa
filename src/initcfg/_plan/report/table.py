"""Plans and ledgers as tables for a person."""

from __future__ import annotations

import html
import io
import math
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from initcfg._plan.assignment import Assignment
from initcfg._plan.report.loads import load_lines
from initcfg.errors import plural
from initcfg.values import Adapted, Computed, Constant, FromCheckpoint, Keep, Opaque, Value, steps_text

if TYPE_CHECKING:
    from initcfg._plan.ledger import Ledger, Written
    from initcfg._plan.plan import Plan

# A number that is a whole part of a name, or ends one: not the index of a list in a rule.
_NUMBER = re.compile(r"(?<![\[\d])\d+(?=\.|$)")
_SHOWN = 8


@dataclass
class Row:
    """Parameters that are alike: same name up to numbers, same kind of value, same rule up to numbers."""

    names: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    elements: int = 0
    values: list[Value] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    full: bool = False

    @property
    def name(self) -> str:
        """The names as one."""
        return merge_names(self.names)

    @property
    def rule(self) -> str:
        """The rules as one."""
        return merge_names(self.rules)

    def value_text(self) -> str:
        """The value; numbers that differ within the row as a range."""
        if self.full and isinstance(value := self.values[0], FromCheckpoint):
            keys = "" if value.keys == (self.names[0],) else f", key {', '.join(value.keys)}"
            return value_text(value) + keys
        return merge_texts([value_text(value) for value in self.values])

    def shape_text(self) -> str:
        """The shape, if it is one."""
        return "×".join(map(str, self.shapes[0])) if len(set(self.shapes)) == 1 else "various"


def rows(assignments: Iterable[Assignment], *, full: bool) -> list[Row]:
    """The rows of a plan's table."""
    grouped: dict[tuple[str, ...], Row] = {}
    for item in assignments:
        rule = item.rule or (f"default ({item.default.rule})" if item.default else "")
        key = (item.name,) if full else (mask(item.name), mask(rule), shape_of_value(item.value))
        row = grouped.setdefault(key, Row(full=full))
        row.names.append(item.name)
        row.rules.append(rule)
        row.elements += item.elements
        row.values.append(item.value)
        row.shapes.append(item.shape)
    return list(grouped.values())


def mask(name: str) -> str:
    """A name without its numbers: alike for parameters of repeated layers."""
    return _NUMBER.sub("#", name)


def merge_names(names: Sequence[str]) -> str:
    """One name for several that differ in numbers alone.

    Example:
        >>> from initcfg._plan.report.table import merge_names
        >>> merge_names(["layer1.0.bn1.bias", "layer1.0.bn2.bias", "layer1.1.bn1.bias"])
        'layer1.{0,1}.bn{1,2}.bias'
    """
    columns = zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True)
    pieces = _NUMBER.split(names[0])
    merged = pieces[0]
    for numbers, piece in zip(columns, pieces[1:], strict=True):
        merged += _number_set(sorted(set(numbers))) + piece
    return merged


def _number_set(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    if len(numbers) > 2 and numbers[-1] - numbers[0] + 1 == len(numbers):
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    return "{" + ",".join(map(str, numbers)) + "}" if len(numbers) < 5 else "*"


def shape_of_value(value: Value) -> str:
    """What values have in common that differ in numbers alone; a constant's number counts."""
    if isinstance(value, Constant):
        return str(value)
    if isinstance(value, Opaque):
        return f"Opaque {value.code}"
    return re.sub(r"[-\d.e+]+", "#", value_text(value))


def value_text(value: Value) -> str:
    """A value for a person."""
    if isinstance(value, Keep):
        return "keeps its constructor's value"
    if isinstance(value, Adapted):
        return f"from {value.source}, {steps_text(value.steps)}"
    if isinstance(value, FromCheckpoint):
        return f"from {value.source}"
    if isinstance(value, Opaque):
        return f"by its own {value.code}"
    return str(value)


def merge_texts(texts: list[str]) -> str:
    """One text for several that differ in numbers alone: ``std=0.0295…0.177``."""
    if len(set(texts)) == 1:
        return texts[0]
    number = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
    columns = [number.findall(text) for text in texts]
    pieces = number.split(texts[0])
    merged = pieces[0]
    for index, piece in enumerate(pieces[1:]):
        found = sorted({column[index] for column in columns}, key=float)
        merged += (found[0] if len(found) == 1 else f"{found[0]}…{found[-1]}") + piece
    return merged


# -- plans ---------------------------------------------------------------------------------------


class PlanRows:
    """The rows as a table where the terminal is wide enough for one, and as two lines each where not."""

    def __init__(self, shown: Sequence[Row]) -> None:
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich calls to draw this."""
        table = self._table()
        if Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width:
            yield table
            return
        for row in self.shown:
            count = f"  ×{len(row.names)}" if len(row.names) > 1 else ""
            rule = f"  ← {row.rule}" if row.rule else ""
            shape = "" if row.shape_text() == "various" else f"  {row.shape_text()}"
            style = "dim" if isinstance(row.values[0], Keep) else ""
            yield Text(row.name + shape + count, style=style or "bold")
            yield Text(f"    {row.value_text()}{rule}", style=style)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
        for title in ("parameter", "×", "shape", "value", "rule"):
            table.add_column(title, no_wrap=True, justify="right" if title == "×" else "left")
        for row in self.shown:
            table.add_row(
                escape(row.name),
                str(len(row.names)) if len(row.names) > 1 else "",
                row.shape_text(),
                escape(row.value_text()),
                escape(row.rule),
                style="dim" if isinstance(row.values[0], Keep) else None,
            )
        return table


def plan_view(plan: Plan, *, full: bool = False) -> RenderableType:
    """The whole view of a plan: rows, totals, and what deserves attention."""
    shown = rows([*plan.parameters.values(), *plan.buffers.values()], full=full)
    return Group(PlanRows(shown), Text(), *attention(plan, full=full))


def summary(plan: Plan) -> str:
    """The totals in one sentence."""
    items = list(plan.parameters.values())
    keep = sum(isinstance(item.value, Keep) for item in items)
    code = sum(isinstance(item.value, Opaque) for item in items)
    loaded = sum(isinstance(item.value, FromCheckpoint) for item in items)
    default = sum(item.rule is None and not isinstance(item.value, Keep) for item in items)
    followed = [
        item
        for item in items
        if item.rule and item.rule not in plan.rules and not isinstance(item.value, (Keep, Opaque))
    ]
    ruled = len(items) - keep - code - loaded - default - len(followed)
    elements = sum(item.elements for item in items)
    used = {item.rule for item in items if item.rule in plan.rules and not isinstance(item.value, Opaque)}
    parts = [f"{ruled:,} by {plural(len(used), 'rule')}"] if ruled or not followed else []
    if followed:
        places = plural(len({item.rule for item in followed}), "place")
        parts.append(f"{len(followed):,} by code at {places}")
    if loaded:
        parts.append(f"{loaded:,} from a checkpoint")
    if code:
        parts.append(f"{code:,} by code of the model's own")
    if default:
        parts.append(f"{default:,} as their constructors say")
    if keep or not default:
        parts.append(f"{keep:,} kept as constructed")
    return f"{plural(len(items), 'parameter')}, {elements:,} elements: " + ", ".join(parts) + "."


def symbolic(plan: Plan) -> str:
    """How much of a traced plan has a name, and what has none, in one sentence."""
    items = [*plan.parameters.values(), *plan.buffers.values()]
    opaque = [item for item in items if not is_symbolic(item.value)]
    elements = sum(item.elements for item in items)
    named = elements - sum(item.elements for item in opaque)
    # Rounded down: 100 % is all of them.
    share = 100.0 if named == elements else math.floor(1000 * named / elements) / 10
    text = (
        f"{len(items) - len(opaque):,} of {plural(len(items), 'tensor')} symbolic ({share:g} % of elements)"
    )
    if not opaque:
        return text + "."
    names = [row.name for row in rows(opaque, full=False)]
    return f"{text}; {len(opaque):,} opaque: {', '.join(limited(names, False))}."


def is_symbolic(value: Value) -> bool:
    """Whether a value says what it is, and does not only name the code that writes it."""
    if isinstance(value, (Keep, Opaque, Computed)):
        return False
    inner = [each for item in value.args.values() for each in (item if isinstance(item, tuple) else (item,))]
    return all(is_symbolic(each) for each in inner if isinstance(each, Value))


def attention(plan: Plan, *, full: bool = False) -> list[Text]:
    """What a person should see besides the table."""
    lines = [Text(summary(plan), style="bold")]
    for item in limited(plan.unused, full):
        if isinstance(item, str):
            lines.append(Text(f"  {item}"))
            continue
        lines.append(Text(f"unused rule  {item.rule}: {item.reason}.", style="yellow"))
        lines.append(Text(f"             {item.cfg}"))
    if plan.uninitialized:
        names = ", ".join(limited(plan.uninitialized, full))
        lines.append(Text(f"never written  {names}: no rule and no constructor fills them.", style="red"))
    lines += load_lines(plan, full=full)
    for note in limited(plan.notes, full):
        lines.append(Text(f"note         {note}", style="yellow"))
    for name in limited(plan.nested, full):
        lines.append(Text(f"reached      the init_cfg of {name}, which MMEngine would skip"))
    for name in limited(plan.uncalled, full):
        lines.append(Text(f"not called   {name}.init_weights(), as MMEngine would not call it either"))
    return lines


def limited(items: Sequence[Any], full: bool) -> list[Any]:
    """The first few, and how many more there are."""
    if full or len(items) <= _SHOWN:
        return list(items)
    return [*items[: _SHOWN - 1], f"... and {len(items) - _SHOWN + 1} more"]


def plan_text(plan: Plan, *, full: bool = False) -> str:
    """The view of a plan as plain text."""
    return render(plan_view(plan, full=full))


def plan_html(plan: Plan) -> str:
    """The table of a plan as HTML, for notebooks."""
    head = "".join(f"<th>{title}</th>" for title in ("parameter", "×", "shape", "value", "rule"))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(cell)}</td>"
            for cell in (row.name, str(len(row.names)), row.shape_text(), row.value_text(), row.rule)
        )
        + "</tr>"
        for row in rows([*plan.parameters.values(), *plan.buffers.values()], full=False)
    )
    lines = "".join(f"<div>{html.escape(line.plain)}</div>" for line in attention(plan))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"


# -- ledgers -------------------------------------------------------------------------------------


def ledger_view(ledger: Ledger) -> RenderableType:
    """The account of an apply in a few lines."""
    by = {"rule": 0, "default": 0, "code": 0, "nobody": 0}
    for entry in ledger.entries.values():
        by[entry.by] += 1
    defaults = f"{by['default']:,} as their constructors say, " if by["default"] else ""
    seed = "" if ledger.seed is None else f", seed {ledger.seed}"
    lines = [
        Text(
            f"{sum(by.values()) - by['nobody']:,} tensors written ({by['rule']:,} by rules, {defaults}"
            f"{by['code']:,} by code of the model's own), {by['nobody']:,} kept; rng {ledger.rng}{seed}.",
            style="bold",
        )
    ]
    altered = [name for name, entry in ledger.entries.items() if entry.altered]
    if altered:
        lines.append(Text(f"  changed by their parametrization: {', '.join(limited(altered, False))}"))
    lines += [Text(line) for line in _loaded(ledger)]
    codes: dict[str, list[Written]] = {}
    for entry in ledger.entries.values():
        if entry.code:
            codes.setdefault(entry.code, []).append(entry)
    for code, entries in codes.items():
        lines.append(Text(f"  {code} wrote {plural(len(entries), 'tensor')}"))
    return Group(*lines)


def _loaded(ledger: Ledger) -> list[str]:
    lines: list[str] = []
    for load in ledger.loads:
        counts = [
            f"{len(names)} {what}"
            for what, names in (
                ("adapted", load.adapted),
                ("missing", load.missing),
                ("unexpected", load.unexpected),
                ("of another shape or type", load.mismatched),
                ("excluded", load.excluded),
            )
            if names
        ]
        lines.append("  " + ", ".join([f"{plural(load.loaded, 'tensor')} from {load.source}", *counts]))
    bad = [
        f"{name} ({entry.loaded.non_finite})"
        for name, entry in ledger.entries.items()
        if entry.loaded and entry.loaded.non_finite
    ]
    if bad:
        lines.append(f"  loaded with NaN or infinity: {', '.join(limited(bad, False))}")
    return lines


def ledger_text(ledger: Ledger) -> str:
    """The account of an apply as plain text."""
    return render(ledger_view(ledger))


def render(view: RenderableType, width: int | None = None) -> str:
    """A view as plain text, as wide as the terminal."""
    out = io.StringIO()
    width = width or max(shutil.get_terminal_size((160, 40)).columns, 60)
    Console(file=out, width=width, color_system=None, force_terminal=False).print(view)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
