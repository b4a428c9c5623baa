"""Defaults: what the constructors of a pending model meant to write, as the first write of each tensor."""

from __future__ import annotations

from initcfg._model import Names
from initcfg._plan import Piece, Shadowed, Stack
from initcfg._plan.planner import ORDER, Defaults
from initcfg._record.pending import default_of
from initcfg._record.recording import named_values
from initcfg.values import Layout


def defaults(names: Names) -> Defaults:
    """The defaults of the pending parameters of a model; of any other model, nothing."""
    found = {entry.name: (entry, default_of(entry.tensor)) for entry in names.parameters}
    outcomes = {name: default.outcome for name, (_, default) in found.items() if default is not None}
    pieces: dict[int, Piece] = {}
    for name, value in named_values(outcomes.items()).items():
        entry, outcome = found[name][0], outcomes[name]
        write = Shadowed(outcome.code, value, outcome.call or {})
        pieces[id(entry)] = (0, Stack((ORDER,), (write,), Layout(entry.shape)))
    return Defaults(pieces, tuple(name for name, outcome in outcomes.items() if outcome.value is None))
