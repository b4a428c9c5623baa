"""Derived: weights that are made of another model's, one that is larger, smaller, shallower or dense.

In: the names and shapes of a checkpoint, and of the module.
Out: for each tensor what it is made of, keys and steps (``Derivation``); the planner makes values of them.

Read: `weight_selection.py` (of a larger model), `depth_up.py` (of a shallower one), `upcycle.py` (of a dense
one), `net2wider.py` (of a narrower one), `low_rank.py` (adapters of peft, and what is left of their weights).
"""

# Each registers itself, and is reached by its registered name.
from initcfg._rules.initializers.derived import (  # noqa: F401
    depth_up,
    low_rank,
    net2wider,
    upcycle,
    weight_selection,
)

__all__: list[str] = []
