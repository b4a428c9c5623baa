"""Pages: plans, ledgers and what differs, as one HTML file each; and short forms for notebooks.

In: a plan, a ledger or a comparison, and a language.
Out: the text of a page that needs nothing besides, with a table that can be searched, histograms and
pictures; or a fragment.

Read: `elements.py` (what is put into HTML is escaped), then `wording.py` (English and Chinese), `remarks.py`
(what planners say, in Chinese), `style.py` and `script.py` (how a page looks, and what it does), `page.py` (a
whole one), `densities.py` (what numbers a value gives) and `bars.py` (their small histograms), `figures.py`
(pictures by matplotlib), `tensors.py` (the table), `plans.py`, `ledgers.py`, `differences.py` (a page each),
`notebooks.py` (short forms).
"""

from initcfg._plan.report.html.bars import law_cell, number
from initcfg._plan.report.html.differences import diff_page
from initcfg._plan.report.html.elements import Html, element, name_of, together
from initcfg._plan.report.html.figures import COLOR, Drawing, can_draw, framed, logarithmic, settings
from initcfg._plan.report.html.ledgers import ledger_page
from initcfg._plan.report.html.notebooks import diff_short, ledger_short, plan_short, short_table
from initcfg._plan.report.html.page import facts, whole_page, written
from initcfg._plan.report.html.plans import plan_page, plan_tensors
from initcfg._plan.report.html.remarks import is_chinese, value_text
from initcfg._plan.report.html.tensors import (
    TensorRow,
    legend,
    plain_table,
    search_box,
    tensor_table,
    wide_table,
)
from initcfg._plan.report.html.wording import Wording

__all__ = [
    "COLOR",
    "Drawing",
    "Html",
    "TensorRow",
    "Wording",
    "can_draw",
    "diff_page",
    "diff_short",
    "element",
    "facts",
    "framed",
    "is_chinese",
    "law_cell",
    "ledger_page",
    "ledger_short",
    "legend",
    "logarithmic",
    "name_of",
    "number",
    "plain_table",
    "plan_page",
    "plan_short",
    "plan_tensors",
    "search_box",
    "settings",
    "short_table",
    "tensor_table",
    "together",
    "value_text",
    "whole_page",
    "wide_table",
    "written",
]
