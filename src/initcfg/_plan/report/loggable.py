"""What loggers take: a plan as columns and rows, a ledger as flat numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initcfg._plan.report.scaling import tune_text
from initcfg._plan.report.words import shape_text, value_text
from initcfg.errors import plural, shown

if TYPE_CHECKING:
    from initcfg._plan.ledger import Ledger
    from initcfg._plan.plan import Plan

_COLUMNS = ["name", "shape", "elements", "dtype", "kind", "value", "rule", "tune", "buffer"]
_BY = {"rule": "by_rule", "default": "by_default", "code": "by_code", "nobody": "kept"}


@dataclass(frozen=True, repr=False)
class PlanTable:
    """A plan as columns and rows, of texts and numbers alone.

    Attributes:
        columns: What stands in a row: ``["name", "shape", ...]``.
        rows: A row for each tensor, parameters first.
    """

    columns: list[str]
    rows: list[list[Any]]

    def __repr__(self) -> str:
        return f"<PlanTable of {plural(len(self.rows), 'tensor')}, columns {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        from initcfg._plan.report.html import short_table

        return str(short_table(self.columns, [[str(cell) for cell in row] for row in self.rows]))

    def to_dict(self) -> dict[str, list[Any]]:
        """By column: what MLflow's ``log_table`` and a ``pandas.DataFrame`` take."""
        return {name: [row[place] for row in self.rows] for place, name in enumerate(self.columns)}

    def to_markdown(self) -> str:
        """As a table in Markdown: what TensorBoard's ``add_text`` shows."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(map(_cell, each))} |" for each in lines)


def plan_table(plan: Plan) -> PlanTable:
    """See :meth:`Plan.to_table`."""
    items = [*plan.parameters.values(), *plan.buffers.values()]
    rows: list[list[Any]] = [
        [
            shown(item.name),
            shape_text(item.shape),
            item.elements,
            item.dtype,
            type(item.value).__name__,
            shown(value_text(item.value)),
            shown(item.rule or (f"default ({item.default.rule})" if item.default else "")),
            tune_text(item.tune),
            item.name in plan.buffers,
        ]
        for item in items
    ]
    return PlanTable(list(_COLUMNS), rows)


def ledger_summary(ledger: Ledger) -> dict[str, int]:
    """See :meth:`Ledger.summary`."""
    entries = list(ledger.entries.values())
    sizes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    for entry in entries:
        size = 1
        for each in entry.shape:
            size *= each
        sizes[entry.by] += size
        tensors[entry.by] += 1
        kinds[type(entry.value).__name__] += 1
    loaded = [entry.loaded for entry in entries if entry.loaded is not None]
    return {
        "tensors": len(entries),
        # No name is the folder of another one: MLflow's store of files has a file for each.
        "elements/all": sizes.total(),
        "buffers": sum(entry.buffer for entry in entries),
        **{name: tensors[by] for by, name in _BY.items()},
        **{f"elements/{name}": sizes[by] for by, name in _BY.items()},
        "loaded": len(loaded),
        "loaded_not_finite": sum(bool(each.non_finite) for each in loaded),
        "altered": sum(entry.altered for entry in entries),
        "checkpoints": len(ledger.loads),
        "rules": len({entry.rule for entry in entries if entry.by == "rule"}),
        **{f"kind/{name}": count for name, count in sorted(kinds.items())},
    }


def _cell(item: Any) -> str:
    return str(item).replace("\\", "\\\\").replace("|", "\\|")
