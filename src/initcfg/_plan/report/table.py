"""Plans as tables for a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initcfg._plan.assignment import Assignment
from initcfg._plan.report.accounts import load_lines
from initcfg._plan.report.fitted import FittedTable, at_the_end, at_the_start, in_the_middle
from initcfg._plan.report.overridden import overridden_rules
from initcfg._plan.report.scaling import tune_text
from initcfg._plan.report.words import (
    count_text,
    default_text,
    limited,
    mask,
    mask_value,
    merge_names,
    merge_texts,
    shape_text,
    uncalled_text,
    value_text,
)
from initcfg.errors import line, plural, render, stacked
from initcfg.values import Computed, FromCheckpoint, Keep, Opaque, Value

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from initcfg._plan.plan import Plan

_TITLES = ("parameter", "×", "shape", "value", "rule")
# A value says most, and who wrote it least.
_SHORTENED = {0: (in_the_middle, 20, 5), 3: (at_the_end, 20, 12), 4: (at_the_start, 8, 0)}


@dataclass(frozen=True)
class Row:
    """Tensors that are alike: same name up to numbers, same kind of value, same rule up to numbers."""

    items: list[Assignment]
    full: bool

    @property
    def name(self) -> str:
        return merge_names([item.name for item in self.items])

    @property
    def rule(self) -> str:
        return merge_names([_rule(item) for item in self.items])

    @property
    def value(self) -> str:
        """The value; numbers that differ within the row as a range."""
        first = self.items[0]
        if self.full and isinstance(first.value, FromCheckpoint):
            keys = first.value.keys
            return _value_and_tune(first) + ("" if keys == (first.name,) else f", key {', '.join(keys)}")
        return merge_texts([_value_and_tune(item) for item in self.items])

    @property
    def shape(self) -> str:
        """The shape, if it is one."""
        shapes = {item.shape for item in self.items}
        return "×".join(map(str, self.items[0].shape)) if len(shapes) == 1 else "various"

    @property
    def style(self) -> str:
        return "dim" if self.items[0].rule is None else ""


def _value_and_tune(item: Assignment) -> str:
    tune = tune_text(item.tune)
    return value_text(item.value) + (f", {tune}" if tune else "")


def _rule(item: Assignment) -> str:
    return item.rule or default_text(item)


def rows(assignments: Iterable[Assignment], *, full: bool) -> list[Row]:
    """The rows of a plan's table."""
    grouped: dict[object, Row] = {}
    for item in assignments:
        key = (
            (item.name,) if full else (mask(item.name), mask(_rule(item)), mask_value(item.value), *item.tune)
        )
        grouped.setdefault(key, Row([], full)).items.append(item)
    return list(grouped.values())


def all_rows(plan: Plan, *, full: bool) -> list[Row]:
    """The rows of all that a plan fills."""
    return rows([*plan.parameters.values(), *plan.buffers.values()], full=full)


def rows_view(shown: Sequence[Row]) -> RenderableType:
    """The rows as a table, shortened where there is less room, or as two lines each."""
    table = FittedTable(_TITLES, _SHORTENED)
    for row in shown:
        name, value, rule, shape, count = row.name, row.value, row.rule, row.shape, count_text(row.items)
        head = name + ("" if shape == "various" else f"  {shape}") + (f"  ×{count}" if count else "")
        below = f"    {value}" + (f"  ← {rule}" if rule else "")
        lines = [line(head, style=row.style or "bold"), line(below, style=row.style)]
        table.add([name, count, shape, value, rule], row.style or None, lines)
    return table


def plan_view(plan: Plan, *, full: bool = False) -> RenderableType:
    """The whole view of a plan: rows, totals, and what deserves attention."""
    return stacked(rows_view(all_rows(plan, full=full)), line(), *attention(plan, full=full))


def plan_text(plan: Plan, *, full: bool = False) -> str:
    """The view of a plan as plain text."""
    return render(plan_view(plan, full=full))


def summary(plan: Plan) -> str:
    """The totals in one sentence."""
    items = list(plan.parameters.values())
    of: dict[str, list[Assignment]] = {
        name: [] for name in ("rule", "place", "load", "code", "default", "keep")
    }
    for item in items:
        of[decided_by(plan, item)].append(item)
    ruled, followed, loaded, code, default, keep = (len(each) for each in of.values())
    used, places = ({item.rule for item in of[name]} for name in ("rule", "place"))
    elements = sum(item.elements for item in items)
    counts = [
        (ruled or not followed, f"{ruled:,} by {plural(len(used), 'rule')}"),
        (followed, f"{followed:,} by code at {plural(len(places), 'place')}"),
        (loaded, f"{loaded:,} from a checkpoint"),
        (code, f"{code:,} by code of the model's own"),
        (True, f"{default + keep:,} by default"),
    ]
    said = ", ".join(text for worth_saying, text in counts if worth_saying)
    return f"{plural(len(items), 'parameter')}, {elements:,} elements: {said}."


def decided_by(plan: Plan, item: Assignment) -> str:
    """The one count of the summary that a tensor belongs to."""
    for kind, name in ((Keep, "keep"), (Opaque, "code"), (FromCheckpoint, "load")):
        if isinstance(item.value, kind):
            return name
    if item.rule is None:
        return "default"
    return "rule" if item.rule in plan.rules else "place"


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


def _changed(plan: Plan, name: str) -> str:
    """What the model's own code makes of which tensors there are."""
    before = plan.before_code[name]
    if name in plan.aliases:
        return f"tied         {name}: the model's own code makes it one with {plan.aliases[name]}"
    if before is None:
        return f"added        {name}: the model's own code makes it"
    was = f"{before.dtype} of shape {shape_text(before.shape)}"
    if name not in plan:
        return f"taken away   {name}: {was}, until the model's own code runs"
    if (before.shape, before.dtype) == (plan[name].shape, plan[name].dtype):
        return f"changed      {name}: the model's own code stores it in another way"
    return f"changed      {name}: {was}, until the model's own code runs"


def attention(plan: Plan, *, full: bool = False, logged: bool = False) -> list[Text]:
    """What a person should see besides the table; ``logged``: but for the warnings, which were logged."""
    lines = [line(summary(plan), style="bold")]
    for item in limited(plan.unused, full):
        if isinstance(item, str):
            lines.append(line(f"  {item}"))
            continue
        lines.append(line(f"unused rule  {item.rule}: {item.reason}.", style="yellow"))
        lines.append(line(f"             {item.cfg}"))
    over = overridden_rules(plan)
    for rule in limited(list(over), full):
        if rule not in over:
            lines.append(line(f"  {rule}"))
            continue
        lines.append(
            line(f"overridden   {rule}: all that it writes is written over by {_after(over[rule])}.")
        )
        lines.append(line(f"             {plan.rules[rule].cfg}"))
    if plan.uninitialized:
        names = ", ".join(limited(plan.uninitialized, full))
        lines.append(line(f"never written  {names}: no rule and no constructor fills them.", style="red"))
    if plan.partly_written:
        names = ", ".join(limited(plan.partly_written, full))
        lines.append(line(f"partly written  {names}: only a part of each has a value.", style="red"))
    lines += [line(f"tied         {each}") for each in limited(_ties(plan), full)]
    for name in limited(list(plan.before_code), full):
        lines.append(line(_changed(plan, name) if name in plan.before_code else f"  {name}", style="yellow"))
    for load in plan.loads:
        lines += load_lines(plan, load, full=full, logged=logged)
    for note in limited(plan.notes if full else _merged(plan.notes), full):
        lines.append(line(f"note         {note}", style="yellow"))
    for name in limited(plan.nested, full):
        lines.append(line(f"reached      the init_cfg of {name}, though what holds it is no BaseModule"))
    for name in limited(plan.uncalled, full):
        more = name.startswith("... and ")
        lines.append(line(f"not called   {name if more else uncalled_text(plan, name)}"))
    return lines


def _after(rules: Sequence[str]) -> str:
    """The later rules that write over one."""
    return ", ".join(rules[:3]) + (" and others" if len(rules) > 3 else "")


def _ties(plan: Plan) -> list[str]:
    """Names of tensors that another name is first for; those that differ in numbers alone as one."""
    alike: dict[object, list[tuple[str, str]]] = {}
    for alias, name in plan.aliases.items():
        if alias not in plan.before_code:
            alike.setdefault((mask(alias), mask(name)), []).append((alias, name))
    return [
        f"{merge_names([alias for alias, _ in found])} is {merge_names([name for _, name in found])}"
        for found in alike.values()
    ]


def _merged(notes: Iterable[str]) -> list[str]:
    """Notes; those that differ in the numbers of modules alone as one."""
    alike: dict[object, list[str]] = {}
    for note in notes:
        alike.setdefault(mask(note), []).append(note)
    return [merge_names(found) for found in alike.values()]
