"""Names for values: what is drawn once and shows in several tensors is drawn under one name."""

from __future__ import annotations

from collections.abc import Iterable

from initcfg._record.recording.formula import assign_owners
from initcfg._record.recording.outcome import Outcome
from initcfg.values import Constant, CopyOf, Value


def named_values(outcomes: Iterable[tuple[str, Outcome]]) -> dict[str, Value]:
    """The values of the tensors that have one, by name; tensors that come from the same draws share them."""
    found = {name: each for name, each in outcomes if each.value is not None}
    first: dict[tuple[int, ...], str] = {}
    for name, each in found.items():
        identity = tuple(map(id, each.sources))
        if identity:
            first[identity] = min(first.get(identity, name), name, key=str.encode)
    drafts = {name: each.draft for name, each in found.items() if each.draft is not None}
    owners = assign_owners(first.items(), drafts)
    values: dict[str, Value] = {}
    for name, each in found.items():
        assert each.value is not None
        if each.draft is not None:
            values[name] = each.draft.named(name, owners)
            continue
        source = first.get(tuple(map(id, each.sources)), name)
        same = source == name or isinstance(each.value, Constant) or not each.value.random
        values[name] = each.value if same else CopyOf(source, each.value)
    return values
