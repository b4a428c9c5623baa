"""Report: plans and ledgers for a person, as text, HTML, or what rich draws.

In: a plan or a ledger.
Out: views (the whole, or only what deserves attention), and the whole story of one parameter.

Read: `words.py` (words for names, values and shapes; one text for many that are alike), then `table.py`
(the table of a plan, and its totals), `accounts.py` (checkpoints, and the ledger), `explanation.py` (one
parameter).
"""

from initcfg._plan.report.accounts import ledger_text, ledger_view
from initcfg._plan.report.explanation import explain_text
from initcfg._plan.report.table import attention, plan_html, plan_text, plan_view, rows, rows_view, symbolic
from initcfg._plan.report.words import (
    TableOrLines,
    count_text,
    limited,
    mask,
    mask_value,
    merge_names,
    merge_texts,
    plain_table,
    render,
    shape_text,
    value_text,
)

__all__ = [
    "TableOrLines",
    "attention",
    "count_text",
    "explain_text",
    "ledger_text",
    "ledger_view",
    "limited",
    "mask",
    "mask_value",
    "merge_names",
    "merge_texts",
    "plain_table",
    "plan_html",
    "plan_text",
    "plan_view",
    "render",
    "rows",
    "rows_view",
    "shape_text",
    "symbolic",
    "value_text",
]
