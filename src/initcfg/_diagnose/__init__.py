"""Diagnose: what an initialization does to a model before it trains, and which rule is to blame.

In: a model with its weights, a batch and a loss, and the plan that gave the weights where there is one.
Out: a ``Diagnosis``: findings with their places, rules and remedies, and the measures that they come from.

Read: `facts.py` (what a diagnosis holds), `report/` (as a page), `loggers.py` (where it is logged).
"""

from initcfg._diagnose.facts import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding"]
