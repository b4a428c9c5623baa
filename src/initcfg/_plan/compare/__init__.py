"""Compare: what differs between two plans, two ledgers, or a plan and a ledger.

In: two of them, or the files that hold them.
Out: a ``Comparison``, tensor by tensor; where MMEngine reaches something else, why.

Read: `comparison.py` (what differs, and what is in a saved file), then `with_mmengine.py` (why our reach and
the original's differ).
"""

from initcfg._plan.compare.comparison import Comparison, Pair, compare, has_ledger, read_saved
from initcfg._plan.compare.with_mmengine import Difference, differences

__all__ = ["Comparison", "Difference", "Pair", "differences", "compare", "has_ledger", "read_saved"]
