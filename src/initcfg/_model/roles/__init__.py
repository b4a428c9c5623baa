"""Roles: what each tensor does in its model, beside what it is and where it is.

In: a model; what a person declares of it; an example of its input.
Out: for each tensor its roles, its block, and how that is known (``Roles``).

Read: `facts.py` (what is known), then `find.py` (from a model to its roles), `declared.py` (as a person
says them), `examples.py` (what the model is run on) with `examples_transformers.py`, `stand_in.py` (what runs
in its place), `operations.py` (the graph of what ran) with `forward.py` (how), `graph.py` (what depends on
what), `residuals.py` (adds of a branch to its skip), `stacks.py` (the adds that one stream goes through),
`attention.py`, `branches.py`, `ends.py`, `blocks.py` (what layers do, by where they stand), `seen.py` (all of
these together), `guessed.py` (names, where nothing can be seen), and `written.py` (what was found, as a
person would declare it).
"""

from initcfg._model.roles.examples import arguments_of, example_of
from initcfg._model.roles.facts import ROLE_NAMES, Roles, TensorRole
from initcfg._model.roles.find import find_roles
from initcfg._model.roles.stand_in import stand_in
from initcfg._model.roles.written import declaration

__all__ = [
    "ROLE_NAMES",
    "Roles",
    "TensorRole",
    "arguments_of",
    "declaration",
    "example_of",
    "find_roles",
    "stand_in",
]
