"""Pages: plans, ledgers and what differs, as one HTML file each; and short forms for notebooks.

In: a plan, a ledger or a comparison, and a language.
Out: the text of a page that needs nothing besides, with a table that can be searched, histograms and
pictures; or a fragment.

Read: `elements.py` (what is put into HTML is escaped), then `wording.py` (English and Chinese), `style.py`
and `script.py` (how a page looks, and what it does), `page.py` (a whole one), `densities.py` (what numbers
a value gives) and `bars.py` (their small histograms), `figures.py` (pictures by matplotlib), `tensors.py`
(the table), `plans.py`, `ledgers.py`, `differences.py` (a page each), `notebooks.py` (short forms).
"""

from initcfg._plan.report.html.differences import diff_page
from initcfg._plan.report.html.ledgers import ledger_page
from initcfg._plan.report.html.notebooks import diff_short, ledger_short, plan_short
from initcfg._plan.report.html.plans import plan_page

__all__ = [
    "diff_page",
    "diff_short",
    "ledger_page",
    "ledger_short",
    "plan_page",
    "plan_short",
]
