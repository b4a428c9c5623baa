"""Roles: what each tensor does in its model, beside what it is and where it is.

In: a model; what a person declares of it; an example of its input.
Out: for each tensor its roles, its block, and how that is known (``Roles``).

Read: `facts.py` (what is known), then `declared.py` (as a person says it), `find.py` (from a model to its
roles).
"""

from initcfg._model.roles.facts import ROLE_NAMES, Roles, TensorRole
from initcfg._model.roles.find import find_roles

__all__ = ["ROLE_NAMES", "Roles", "TensorRole", "find_roles"]
