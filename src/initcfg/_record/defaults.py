"""Defaults: what the constructors of a pending model meant to write, as the first write of each tensor."""

from __future__ import annotations

from initcfg._model import Names
from initcfg._plan import Shadowed
from initcfg._plan.planner import Defaults
from initcfg._record.pending import default_of
from initcfg._record.recording import named_values


def defaults(names: Names) -> Defaults:
    """The defaults of the pending parameters of a model; of any other model, nothing."""
    found = {entry.name: default_of(entry.tensor) for entry in names.parameters}
    outcomes = {name: default.outcome for name, default in found.items() if default is not None}
    writes = {
        name: Shadowed(outcomes[name].code, value, outcomes[name].call or {})
        for name, value in named_values(outcomes.items()).items()
    }
    return Defaults(writes, dict.fromkeys(name for name, each in outcomes.items() if each.value is None))
