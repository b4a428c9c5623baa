"""Defaults: what the constructors of a pending model meant to write, as the first write of each tensor."""

from __future__ import annotations

from initcfg._model import Entry, Names
from initcfg._plan import Shadowed
from initcfg._plan.planner import Defaults
from initcfg._record.pending import Default, default_of
from initcfg._record.recording import named_values


def defaults(names: Names) -> Defaults:
    """The defaults of the pending parameters of a model; of any other model, nothing."""
    pending: list[tuple[Entry, Default]] = []
    unwritten: list[str] = []
    for entry in names.parameters:
        default = default_of(entry.tensor)
        if default is None:
            continue
        if default.value is None:
            unwritten.append(entry.name)
        else:
            pending.append((entry, default))
    values = named_values((entry.name, default) for entry, default in pending)
    writes = {
        entry.name: Shadowed(default.code, values[entry.name], default.call) for entry, default in pending
    }
    return Defaults(writes, dict.fromkeys(unwritten))
