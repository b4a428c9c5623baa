"""The planner: from a program to a plan, in one walk over the module tree.

In: a model, its program (``_rules``), and what its constructors meant (``_record``), where that is known.
Out: a ``Plan``; model and program are left as they were.

Read: `context.py` (the steps that are active in a subtree), then `reach.py` (the order of the walk, and the
tensors that a rule finds in a module), `hits.py` (name patterns, and those that match nothing), `numbers.py`
(what its arithmetic asks of the model), `writes.py` (what a rule writes), `walk.py` (where), `assigned.py`
(the last write wins), `make.py` (all of it, in order), `strict.py` (what strict=True does not allow).
"""

from initcfg._plan.planner.make import Defaults, Missing, make_plan
from initcfg._plan.planner.numbers import (
    NOTHING_GIVEN,
    GivenRoles,
    RoleRequest,
    remember_roles,
    remembered_roles,
)
from initcfg._plan.planner.reach import Reach, layouts_of, name_in, walk_modules
from initcfg._plan.planner.strict import check_strict

__all__ = [
    "Defaults",
    "GivenRoles",
    "Missing",
    "NOTHING_GIVEN",
    "Reach",
    "RoleRequest",
    "check_strict",
    "layouts_of",
    "make_plan",
    "name_in",
    "remember_roles",
    "remembered_roles",
    "walk_modules",
]
