"""Diagnose: what an initialization does to a model before it trains, and which rule is to blame.

In: a model with its weights, a batch and a loss, and the plan that gave the weights where there is one.
Out: a ``Diagnosis``: findings with their places, rules and remedies, and the measures that they come from.

Read: `facts.py` (what a diagnosis holds) and `sentences.py` (what findings say, in English and in Chinese),
then `diagnose.py` (from start to end), `users_code.py` (whose failure it is), `batches.py` (an input for a
model, where none is given) and `task.py` (a batch, and the loss), `untouched.py` and `held.py` (afterwards
all is as it was), `measuring/` (one pass, watched), `tensors.py` (the parameters after it), `training.py` (a
few steps), `checks/` (what is wrong), `blame.py` (the rule that is to blame), `mends.py` (a rule that helps)
and `mend_text.py` (as its author would write it), `comparison.py` (two initializations side by side),
`progress.py` (what is done now), `report/` (as a page), `loggers.py` (where it is logged).
"""

from initcfg._diagnose.batches import Batch, as_batch, batch_for, first_tensor, loss_of
from initcfg._diagnose.comparison import SEEDS, DiagnosisComparison, Side, checked_seeds, compared
from initcfg._diagnose.diagnose import checked_request, diagnosed
from initcfg._diagnose.facts import Diagnosis, Finding
from initcfg._diagnose.mend_text import mend_text
from initcfg._diagnose.progress import progress_told

__all__ = [
    "Batch",
    "Diagnosis",
    "DiagnosisComparison",
    "Finding",
    "SEEDS",
    "Side",
    "as_batch",
    "batch_for",
    "checked_request",
    "checked_seeds",
    "compared",
    "diagnosed",
    "first_tensor",
    "loss_of",
    "mend_text",
    "progress_told",
]
