"""Short forms for notebooks: a small table in the notebook's own style, of what a page says at length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from initcfg._plan.assignment import Assignment
from initcfg._plan.report.accounts import ledger_view
from initcfg._plan.report.differing import changed_sides, summary
from initcfg._plan.report.html.elements import Html, element, together
from initcfg._plan.report.table import all_rows, attention, rows
from initcfg._plan.report.words import count_text
from initcfg.errors import render

if TYPE_CHECKING:
    from rich.text import Text

    from initcfg._plan.compare import Comparison
    from initcfg._plan.ledger import Ledger
    from initcfg._plan.plan import Plan
    from initcfg._plan.report.table import Row

_TITLES = ("parameter", "×", "shape", "value", "rule")
_MOST = 60


def plan_short(plan: Plan) -> str:
    """The table of a plan."""
    return together((_table(all_rows(plan, full=False)), _lines(attention(plan))))


def ledger_short(ledger: Ledger) -> str:
    """The account of an apply: its lines, and what the tensors got."""
    told = render(ledger_view(ledger), width=400).split("\n")
    said = together(element("div", each) for each in told)
    return together((said, _table(rows(ledger_assignments(ledger), full=False))))


def ledger_assignments(ledger: Ledger) -> list[Assignment]:
    """What a ledger says, as a plan would."""
    return [
        Assignment(entry.name, entry.shape, entry.dtype, entry.value, entry.initializer, entry.rule)
        for entry in ledger.entries.values()
    ]


def diff_short(found: Comparison) -> str:
    """What changed, and what one side alone has."""
    parts: list[Html] = []
    if found.changed:
        lines = changed_sides(found.changed)
        parts.append(short_table(("parameter", "×", "A", "B"), lines))
    for side, items in (("A", found.only_a), ("B", found.only_b)):
        if items:
            parts += [element("div", f"only in {side}"), _table(rows(items.values(), full=False))]
    settings = [element("div", f"{name}: {a} → {b}") for name, (a, b) in found.settings.items()]
    return together((*parts, *settings, element("div", element("b", summary(found)))))


def _table(found: Sequence[Row]) -> Html:
    cells = [(row.name, count_text(row.items), row.shape, row.value, row.rule) for row in found]
    return short_table(_TITLES, cells)


def short_table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> Html:
    """A table of the first rows, and how many more there are."""
    head = element("tr", *(element("th", title, scope="col") for title in titles))
    body = [element("tr", *(element("td", cell) for cell in line)) for line in lines[:_MOST]]
    more = element("div", f"... and {len(lines) - _MOST} rows more") if len(lines) > _MOST else None
    return together((element("table", element("thead", head), element("tbody", *body)), more))


def _lines(found: Iterable[Text]) -> Html:
    return together(element("div", each.plain) for each in found)
