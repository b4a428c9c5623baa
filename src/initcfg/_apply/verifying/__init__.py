"""Verifying: what became of a checkpoint's tensors since they were initialized.

In: a checkpoint, and the plan or the ledger that says what it began with.
Out: for each tensor whether it still holds that, by how much it changed, or why nobody can tell.

Read: `results.py` (what is found), then `compare.py` (tensor by tensor), `initial.py` (what a tensor began
with: made again, or read again from the checkpoint that it was loaded from), `distance.py` (how far two
tensors are apart), `view.py` (for a person).
"""

from initcfg._apply.verifying.compare import verified
from initcfg._apply.verifying.distance import distance, wide
from initcfg._apply.verifying.initial import InitialValues, UnknownError
from initcfg._apply.verifying.results import Verification, Verified
from initcfg._apply.verifying.view import verification_view

__all__ = [
    "InitialValues",
    "UnknownError",
    "Verification",
    "Verified",
    "distance",
    "verification_view",
    "verified",
    "wide",
]
