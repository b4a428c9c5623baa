"""Names for values: what is drawn once and shows in several tensors is drawn under one name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from initcfg._record.recording.formula import FormulaDraft, assign_owners
from initcfg.values import Constant, CopyOf, Value


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
    def draft(self) -> FormulaDraft | None:
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
