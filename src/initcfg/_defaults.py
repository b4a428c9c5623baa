"""Defaults: what the constructors of a pending model meant to write, as the first write of each tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from initcfg._deferral.formula import Draft, assign_owners
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
    values = named_values((entry.name, default) for entry, default in pending)
    pieces: dict[int, Piece] = {}
    for entry, default in pending:
        value = values[entry.name]
        write = Shadowed(default.code, value, default.call)
        pieces[id(entry)] = (0, Stack((ORDER,), (write,), Layout(entry.shape)))
    return Defaults(pieces, tuple(unwritten))


class Meant(Protocol):
    """What a tensor is meant to hold."""

    @property
    def value(self) -> Value | None:
        """What; of a draft, as if nothing shared its numbers."""
        ...

    @property
    def sources(self) -> tuple[object, ...]:
        """What the numbers of a named value come from."""
        ...

    @property
    def draft(self) -> Draft | None:
        """A formula whose random parts have no names yet."""
        ...


def named_values(found: Iterable[tuple[str, Meant]]) -> dict[str, Value]:
    """The values of tensors by name, where tensors whose numbers come from the same draws share them."""
    meant = dict(found)
    first: dict[tuple[int, ...], str] = {}
    for name, each in meant.items():
        identity = tuple(map(id, each.sources))
        if identity:
            first[identity] = min(first.get(identity, name), name, key=str.encode)
    drafts = {name: each.draft for name, each in meant.items() if each.draft is not None}
    owners = assign_owners(first.items(), drafts)
    values: dict[str, Value] = {}
    for name, each in meant.items():
        assert each.value is not None
        if each.draft is not None:
            values[name] = each.draft.named(name, owners)
            continue
        source = first.get(tuple(map(id, each.sources)), name)
        same = source == name or isinstance(each.value, Constant) or not each.value.random
        values[name] = each.value if same else CopyOf(source, each.value)
    return values
