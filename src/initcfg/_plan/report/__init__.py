"""initcfg._plan.report"""

from initcfg._plan.report.explanation import explain_text
from initcfg._plan.report.table import (
    PlanRows,
    attention,
    ledger_text,
    ledger_view,
    limited,
    mask,
    merge_names,
    merge_texts,
    plan_html,
    plan_text,
    plan_view,
    render,
    rows,
    shape_of_value,
    symbolic,
    value_text,
)

__all__ = [
    "PlanRows",
    "attention",
    "explain_text",
    "ledger_text",
    "ledger_view",
    "limited",
    "mask",
    "merge_names",
    "merge_texts",
    "plan_html",
    "plan_text",
    "plan_view",
    "render",
    "rows",
    "shape_of_value",
    "symbolic",
    "value_text",
]
