"""Weights on disk: what is in a checkpoint, what became of it since, what differs from another.

In: a checkpoint (a path, an address, or tensors in memory); a plan, a ledger, or a second checkpoint.
Out: an account of every tensor, printable and JSON.

Read: `given.py` (what people give), then `verifying.py` (against its plan), `inspection.py` (what is in it)
with `statistics.py` (numbers in a few numbers) and `inspection_view.py`, `reading.py` (piece by piece),
`differing.py` (what differs from another) with `comparison.py` (number by number), `comparison_view.py` and
`comparison_page.py`.
"""

from initcfg._api.weights.comparison import TensorChange, WeightsComparison
from initcfg._api.weights.comparison_view import weights_view
from initcfg._api.weights.differing import diff, is_weights
from initcfg._api.weights.inspection import Inspection, inspect
from initcfg._api.weights.inspection_view import inspection_view
from initcfg._api.weights.verifying import verify, verify_planned

__all__ = [
    "Inspection",
    "TensorChange",
    "WeightsComparison",
    "diff",
    "inspect",
    "inspection_view",
    "is_weights",
    "verify",
    "verify_planned",
    "weights_view",
]
