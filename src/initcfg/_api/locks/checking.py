"""Checking: what models start with now, beside what a lock says; and what has changed around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from initcfg._api.locks.entries import Entry
from initcfg._api.locks.lock_file import Lock, LockedModel
from initcfg._api.locks.making import folder_of, model_of, target_of
from initcfg.errors import InitcfgError, LockError, as_annotated, render

_UNTOLD = "nothing that the lock names: what is left is data that code reads, torch, or what these import"


@dataclass(frozen=True)
class ModelCheck:
    """What became of one model.

    Attributes:
        target: The config, as seen from the folder of the lock, or the builder.
        changed: Tensors that start otherwise: name → (before, now).
        added, removed: Tensors that only one side has.
        renamed: Of these, such as differ in nothing but the name: before → now.
        tied: Names that are another name of a tensor on one side alone, or of another one: (before, now).
        beside: What else differs: the random stream, or the bytes of a checkpoint.
        unsure: Tensors that code makes, where what it is made from has changed and no numbers of a seed tell;
            and those of a checkpoint whose bytes nobody knows.
        numbers: Tensors that are said alike, and get other numbers from the seed.
        causes: What has changed of what the model is made from.
        moved: Tensors for which only the rule that says so has another place.
        rounding: Tensors that constructors made, alike in four digits and of other bits, where nothing that
            the lock names has changed: as on another processor.
        now: What it starts with now.
    """

    target: str
    now: LockedModel
    changed: Mapping[str, tuple[Entry, Entry]] = field(default_factory=dict)
    added: Mapping[str, Entry] = field(default_factory=dict)
    removed: Mapping[str, Entry] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    tied: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    rounding: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the model starts with what it did."""
        return not (
            self.changed
            or self.added
            or self.removed
            or self.tied
            or self.beside
            or self.unsure
            or self.numbers
        )

    def to_json(self) -> dict[str, Any]:
        """The same as JSON data."""
        return {
            "target": self.target,
            "same": self.same,
            "changed": {name: [_said(a), _said(b)] for name, (a, b) in self.changed.items()},
            "added": {name: _said(item) for name, item in self.added.items()},
            "removed": {name: _said(item) for name, item in self.removed.items()},
            "renamed": dict(self.renamed),
            "tied": {name: list(pair) for name, pair in self.tied.items()},
            **{
                name: list(getattr(self, name))
                for name in ("beside", "unsure", "numbers", "causes", "moved", "rounding")
            },
        }


@dataclass(frozen=True)
class LockCheck:
    """What became of the models of a lock."""

    models: tuple[ModelCheck, ...]

    @property
    def same(self) -> bool:
        """Whether all start with what they did."""
        return all(each.same for each in self.models)

    def __str__(self) -> str:
        from initcfg._api.locks.lock_view import check_view

        return render(check_view(self))

    def to_json(self) -> dict[str, Any]:
        """The same as JSON data."""
        return {"same": self.same, "models": [each.to_json() for each in self.models]}


@as_annotated(LockError)
def check(path: str | Path = "init.lock", *, untrusted: bool = False) -> LockCheck:
    """Whether the models of a lock still start with what it says; and if not, what has changed.

    Each is built and planned as it was for :func:`lock`, without a weight (with a seed: with its weights).

    Args:
        path: The lock.
        untrusted: Whether the lock and its configs are somebody's whom you do not trust: see ``SECURITY.md``.

    Raises:
        LockError: The lock cannot be read, or a config that it names is gone.
    """
    return checked(str(path), untrusted=untrusted)


def checked(path: str, *, untrusted: bool = False, no_python: bool = False) -> LockCheck:
    """See :func:`check`."""
    folder = folder_of(path)
    found: list[ModelCheck] = []
    for before in Lock.load(path).models:
        target = target_of(before, folder)
        target = replace(
            target, untrusted=target.untrusted or untrusted, no_python=target.no_python or no_python
        )
        try:
            now = model_of(target, folder)
        except InitcfgError as error:
            raise LockError(
                f"The model of {before.target!r}, which {path!r} locks, cannot be planned any more. {error}",
                fix="Mend this; or lock what there is: initcfg lock CONFIG.",
            ) from error
        found.append(compared(before, now))
    return LockCheck(tuple(found))


def compared(before: LockedModel, now: LockedModel) -> ModelCheck:
    """What became of one model."""
    here, there = _by_name(before), _by_name(now)
    both = [name for name in there if name in here]
    causes = _causes(before, now)
    made_anew = any(cause.startswith(("code", "library", "config")) for cause in causes)
    other = [name for name in both if here[name].content != there[name].content]
    rounding = () if made_anew else tuple(name for name in other if here[name].rough == there[name].rough)
    changed = {name: (here[name], there[name]) for name in other if name not in {*rounding}}
    added = {name: item for name, item in there.items() if name not in here}
    removed = {name: item for name, item in here.items() if name not in there}
    same = [name for name in both if name not in changed]
    unread = _unread(before, now)
    known = [name for name in _pairs(now.all("checkpoint")) if name not in unread]
    found = ModelCheck(
        before.target,
        now,
        changed,
        added,
        removed,
        renamed=_renamed(removed, added),
        tied=_tied(before, now),
        beside=_beside(before, now),
        unsure=tuple(
            name
            for name in same
            if (made_anew and there[name].by_code and not _compared(here[name], there[name]))
            or (unread and there[name].is_loaded(known))
        ),
        numbers=tuple(name for name in same if _other_numbers(here[name], there[name])),
        moved=tuple(name for name in same if here[name].rule != there[name].rule),
        rounding=rounding,
    )
    causes += tuple(f"checkpoint {name}: {why}" for name, why in unread.items())
    return replace(found, causes=causes or (() if found.same or found.beside else (_UNTOLD,)))


def _by_name(model: LockedModel) -> dict[str, Entry]:
    return {name: entry for entry in model.entries for name in entry.names}


def _other_numbers(before: Entry, now: Entry) -> bool:
    """Whether a seed gives other numbers; of groups that became others, the values tell."""
    return _compared(before, now) and before.numbers != now.numbers


def _compared(before: Entry, now: Entry) -> bool:
    """Whether the numbers of a seed can be compared: a digest is that of all that a line names."""
    return before.numbers is not None and now.numbers is not None and before.names == now.names


def _renamed(removed: Mapping[str, Entry], added: Mapping[str, Entry]) -> dict[str, str]:
    """Tensors that came and went in equal number, alike in all but the name: in their order."""
    groups: dict[object, tuple[list[str], list[str]]] = {}
    for side, items in enumerate((removed, added)):
        for name, item in items.items():
            key = (*item.content, name.rpartition(".")[2])
            groups.setdefault(key, ([], []))[side].append(name)
    pairs = [pair for pair in groups.values() if len(pair[0]) == len(pair[1])]
    return {old: new for olds, news in pairs for old, new in zip(olds, news, strict=True)}


def _tied(before: LockedModel, now: LockedModel) -> dict[str, tuple[str | None, str | None]]:
    here, there = ({name: tie.to for tie in each.ties for name in tie.names} for each in (before, now))
    names = dict.fromkeys([*here, *there])
    return {name: (here.get(name), there.get(name)) for name in names if here.get(name) != there.get(name)}


def _beside(before: LockedModel, now: LockedModel) -> tuple[str, ...]:
    """What differs though the values may be the same."""
    found: list[str] = []
    if before.one("stream") != now.one("stream"):
        versions = f"version {now.one('stream')}, and had {before.one('stream')}"
        found.append(f"the random stream has {versions}: a seed gives other numbers")
    here, there = (_pairs(each.all("checkpoint")) for each in (before, now))
    for name, told in here.items():
        other = there.get(name)
        if other is not None and told != other and "unknown" not in (told, other):
            found.append(f"the checkpoint {name} holds other bytes")
    return tuple(found)


def _unread(before: LockedModel, now: LockedModel) -> dict[str, str]:
    """Checkpoints of which one side does not know the bytes, and which side."""
    sides = [_pairs(each.all("checkpoint")) for each in (before, now)]
    unknown = [{name for name, told in side.items() if told == "unknown"} for side in sides]
    found: dict[str, str] = {}
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        times = zip(unknown, ("when it was locked", "now"), strict=True)
        when = [word for side, word in times if name in side]
        if when:
            found[name] = f"nothing told its bytes {' and '.join(when)} (it is no file)"
    return found


def _causes(before: LockedModel, now: LockedModel) -> tuple[str, ...]:
    found: list[str] = []
    if before.one("initcfg") != now.one("initcfg"):
        found.append(f"initcfg {before.one('initcfg')} → {now.one('initcfg')}")
    for key, word in (("library", "library "), ("file", "config "), ("code", "code of ")):
        here, there = (_pairs(each.all(key)) for each in (before, now))
        for name in dict.fromkeys([*here, *there]):
            if here.get(name) == there.get(name):
                continue
            if key == "library":
                found.append(f"{word}{name} {here.get(name, '(none)')} → {there.get(name, '(none)')}")
            else:
                how = "is new" if name not in here else "is gone" if name not in there else "has changed"
                found.append(f"{word}{name} {how}")
    return tuple(found)


def _pairs(facts: Sequence[str]) -> dict[str, str]:
    """Names with what the lock says of each."""
    return {name: told for name, _, told in (fact.rpartition(" ") for fact in facts)}


def _said(entry: Entry) -> dict[str, Any]:
    return {
        "shape": entry.shape,
        "dtype": entry.dtype,
        "value": entry.value,
        "rule": entry.rule or None,
        "buffer": entry.buffer,
        "persistent": entry.persistent,
    }
