"""Checks: what is wrong with what was measured.

In: what a pass has shown, what a few steps of training have, and the sizes of the tensors.
Out: findings, each with its number beside its threshold, without the rule that is to blame.

Read: `codes.py` (every check: level, threshold, healthy range, consequence), then `evidence.py` (what checks
look at), and by family: `finite.py`, `loads.py`, `losses.py`, `signals.py`, `units.py`, `learning.py`,
`updates.py`; `all_checks.py` (all of them).
"""

from initcfg._diagnose.checks.all_checks import found_in
from initcfg._diagnose.checks.evidence import Evidence, TensorSeen

__all__ = ["Evidence", "TensorSeen", "found_in"]
