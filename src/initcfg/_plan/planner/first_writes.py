"""Defaults: what the constructors of a pending model meant to write, as the first write of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from initcfg._model.names import Entry, Names
from initcfg._plan.assignment import Shadowed
from initcfg._plan.stacks import Piece, Stack
from initcfg._record.pending import Default, default_of
from initcfg._record.recording.naming import named_values
from initcfg.values.layout import Layout

ORDER = -1
"""Place in the program: before every rule."""


@dataclass(frozen=True)
class Defaults:
    """The defaults of a model.

    Attributes:
        pieces: By ``id`` of the tensor's entry.
        unwritten: Names of the parameters that no constructor wrote.
    """

    pieces: dict[int, Piece] = field(default_factory=dict)
    unwritten: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetaDefaults:
    """What is known of the tensors without memory.

    Attributes:
        writes: By canonical name: what ``reset_parameters`` writes.
        unwritten: The names of the others, each with the code that may have been meant, if there is some.
    """

    writes: Mapping[str, Shadowed] = field(default_factory=dict)
    unwritten: Mapping[str, str | None] = field(default_factory=dict)


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
    pieces: dict[int, Piece] = {}
    for entry, default in pending:
        value = values[entry.name]
        write = Shadowed(default.code, value, default.call)
        pieces[id(entry)] = (0, Stack((ORDER,), (write,), Layout(entry.shape)))
    return Defaults(pieces, tuple(unwritten))
