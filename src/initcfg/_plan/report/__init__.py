"""Report: plans, ledgers and what differs between them for a person, as text, HTML, or what rich draws.

In: a plan, a ledger, or a comparison.
Out: views (the whole, or only what deserves attention), and the whole story of one parameter.

Read: `words.py` (words for names, values and shapes; one text for many that are alike), then `scaling.py`
(scales, multipliers and roles), `fitted.py` (tables that fit the terminal), `table.py` (the table of a
plan, and its totals), `overridden.py` (rules that leave nothing), `accounts.py` (checkpoints, and the
ledger), `explanation.py` (one parameter), `differing.py` (what differs between two plans), `loggable.py`
(what loggers take), `html/` (pages, and short forms for notebooks).
"""

from initcfg._plan.report.accounts import ledger_view
from initcfg._plan.report.differing import diff_view
from initcfg._plan.report.explanation import explain_text
from initcfg._plan.report.loggable import PlanTable, ledger_summary, plan_table
from initcfg._plan.report.table import attention, plan_text, plan_view, symbolic
from initcfg._plan.report.words import limited, mask, merge_exactly, merge_names

__all__ = [
    "PlanTable",
    "ledger_summary",
    "plan_table",
    "attention",
    "diff_view",
    "explain_text",
    "ledger_view",
    "limited",
    "mask",
    "merge_exactly",
    "merge_names",
    "plan_text",
    "plan_view",
    "symbolic",
]
