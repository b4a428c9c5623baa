"""Defaults: what the constructors of a pending model meant to write, as the first write of each tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from initcfg._deferral.formula import assign_owners
from initcfg._layout import Layout
from initcfg._names import Entry, Names
from initcfg._pending import Default, default_of
from initcfg._plan import Shadowed
from initcfg._stack import Piece, Stack
from initcfg._values import Constant, CopyOf, Value

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
    first = _first_names(pending)
    drafts = {entry.name: default.draft for entry, default in pending if default.draft is not None}
    owners = assign_owners(first.items(), drafts)
    pieces: dict[int, Piece] = {}
    for entry, default in pending:
        assert default.value is not None
        if default.draft is not None:
            value: Value = default.draft.named(entry.name, owners)
        else:
            value = _with_source(default, entry.name, first)
        write = Shadowed(default.code, value, default.call)
        pieces[id(entry)] = (0, Stack((ORDER,), (write,), Layout(entry.shape)))
    return Defaults(pieces, tuple(unwritten))


def _first_names(pending: list[tuple[Entry, Default]]) -> dict[tuple[int, ...], str]:
    """For tensors with the same sources: the name that their numbers are made from."""
    first: dict[tuple[int, ...], str] = {}
    for entry, default in pending:
        identity = tuple(map(id, default.sources))
        if identity:
            first[identity] = min(first.get(identity, entry.name), entry.name, key=str.encode)
    return first


def _with_source(default: Default, name: str, first: dict[tuple[int, ...], str]) -> Value:
    value = default.value
    assert value is not None
    source = first.get(tuple(map(id, default.sources)), name)
    if source == name or isinstance(value, Constant) or not getattr(value, "random", False):
        return value
    return CopyOf(source, value)
