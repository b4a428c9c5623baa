"""Export: from a plan back to an ``init_cfg``, the shortest readable one that gives the same plan.

In: a plan, and the model that it is for.
Out: rules as plain data, for YAML and JSON; checked by planning them.

Read: `search.py` (the whole way, and checkpoints), then `cells.py` (what rules can reach in the model, and
what classes are called), `specs.py` (which initializers give a tensor its value), `drafts.py` (rules in the
making, and what they would write), `classes.py` (rules by class, for most layers), `exceptions.py` (rules by
name, for the rest), `patterns.py` (few globs for many names), `marked.py` (multipliers, and scales by role).
"""

from initcfg._plan.export.search import init_cfg_of

__all__ = ["init_cfg_of"]
