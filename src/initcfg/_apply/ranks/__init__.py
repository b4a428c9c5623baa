"""The ranks of a job agree on what they are about to write, and fail together.

In: sets of ranks, what each would write, and a seed or none.
Out: the seed that all use; or the same error on all of them.

Read: `agreement.py` (what a rank does, from start to end), then `rounds.py` (what lies in the store that they
share), `heartbeat.py` (the thread that speaks with it), `disagreement.py` (what differs, in words), `lone.py`
(a rank that agreed with nobody).
"""

from initcfg._apply.ranks.agreement import Agreement
from initcfg._apply.ranks.lone import TOLD, place_in_job

__all__ = ["Agreement", "TOLD", "place_in_job"]
