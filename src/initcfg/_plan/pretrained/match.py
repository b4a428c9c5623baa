"""Pretrained rules in a plan: which tensor of a checkpoint goes where, found by name and shape.

Nothing is read but keys, shapes and types. What fits becomes a write over every other rule; what does not is
in the account, and stays with the next rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from initcfg._checkpoints import OpenedCheckpoint, open_source
from initcfg._model import Entry, Names, counter_may_be_missing
from initcfg._plan.assignment import Shadowed
from initcfg._plan.loads import Load
from initcfg._plan.pretrained.adapters import merging_of, unmerged
from initcfg._plan.pretrained.conversions import Conversions
from initcfg._plan.pretrained.derived import derived
from initcfg._plan.pretrained.destinations import Destination, computed_names, destinations_in
from initcfg._plan.pretrained.fitting import Fitting, fit, hint, hint_text
from initcfg._plan.pretrained.hooked import after_hooks
from initcfg._plan.pretrained.keys import NamedKeys, named_keys, versions_by_path
from initcfg._plan.pretrained.likely import Sides
from initcfg._plan.pretrained.numbers import Numbers
from initcfg._plan.pretrained.permits import Permits
from initcfg._plan.pretrained.positions import COMPUTED
from initcfg._plan.pretrained.problems import (
    check_strict,
    nothing_fits,
    one_of_several,
    partly_fits,
)
from initcfg._plan.pretrained.selection import Selection
from initcfg._plan.pretrained.unnamed import by_order
from initcfg._plan.stacks import Stack
from initcfg._rules import Step
from initcfg._rules.initializers import Derivation, Permission, PretrainedInit
from initcfg._stream.writing import result_shape
from initcfg.errors import CheckpointError, InitcfgError, plural
from initcfg.values import (
    AdaptationStep,
    Adapted,
    FromCheckpoint,
    Hooked,
    Keep,
    Layout,
    Originals,
    Value,
    steps_text,
)

Keys = tuple[str, ...]


def match(
    step: Step, names: Names, *, compat: bool, weaker: PretrainedInit | None = None
) -> tuple[list[tuple[Entry, Stack]], Load]:
    """The writes of one Pretrained step, and the account of what does and does not fit.

    A checkpoint that cannot be opened is not an error yet: the plan says so, and apply refuses. An adapter is
    merged into what its rule names, or into the ``weaker`` checkpoint that the module loads before.
    """
    rule = step.rule
    assert rule is not None and rule.pretrained is not None
    initializer, label = rule.pretrained, rule.pretrained.label
    source = label
    if initializer.in_code:
        source += f" given in {rule.where}"
    elif initializer.part is not None:
        # Two states of one file are two sources.
        source += f" ({initializer.part})"
    merging = merging_of(initializer, weaker)
    if merging is not None:
        source += f" merged into {merging.label}" if merging.label else " merged"
    account = Load(
        rule.where,
        source,
        checkpoint=None if initializer.in_code else label,
        expected=initializer.sha256,
        part=initializer.part,
        offline=initializer.offline,
        finite=initializer.finite,
        mapped=not initializer.copy,
        lora=None if merging is None else merging.said,
        given_base=None if merging is None else merging.given,
    )
    try:
        opened = open_source(
            initializer.state(),
            sha256=initializer.sha256,
            offline=initializer.offline,
            part=initializer.part,
            name=label,
            lora=None if merging is None else merging.lora,
        )
    except CheckpointError as error:
        if merging is not None:
            error.rule, error.where = error.rule or str(rule), rule.place
            raise
        return [], replace(account, problem=error.problem)
    given = initializer.state() if initializer.in_code else None
    state = opened.state and opened.state.hashed()
    account = replace(account, given=given, wrapping=opened.wrapping, sha256=opened.sha256, state=state)
    try:
        found, account = _Match(step, initializer, names, opened, account, compat).result()
    except InitcfgError as error:
        if compat and isinstance(error, CheckpointError):
            return [], replace(account, problem=error.problem)
        error.rule = error.rule or str(rule)
        error.where = error.where or rule.place
        raise
    finally:
        opened.close()
    write = {"rule": rule.where, "initializer": rule.initializer("weight")}
    stacks = [
        (entry, Stack((step.order,), (Shadowed(value=value, **write),), Layout(tuple(entry.tensor.shape))))
        for entry, value in found
    ]
    return stacks, account


class _Match:
    """The keys of one checkpoint, held against the tensors of a module."""

    def __init__(
        self,
        step: Step,
        initializer: PretrainedInit,
        names: Names,
        opened: OpenedCheckpoint,
        account: Load,
        compat: bool,
    ) -> None:
        self.initializer, self.opened, self.account, self.compat = initializer, opened, account, compat
        self.destinations = destinations_in(step.target, names, compat=compat)
        start = names.modules[id(step.target)]
        self.prefix = f"{start}." if start else ""
        self.keys = list(opened.keys())
        self.named = self._named_keys()
        versions = versions_by_path(initializer, opened, self.destinations, compat=compat)
        hooked = after_hooks(step.target, self.prefix, self.named, opened, versions, compat=compat)
        self.named, self.hooked, self.rule = hooked.named, hooked, account.rule
        self._versions = versions
        # What is counted on the way, under the names within the module.
        self.missing: list[str] = []
        self.mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
        self.adapted: list[tuple[str, str]] = []
        self.excluded: list[str] = []
        self.hints: list[str] = list(hooked.hints)
        # Tensors that a kind of conversion would make, were it allowed.
        self.unasked: Counter[str] = Counter()
        # Keys that a conversion takes under another name.
        self.renamed: list[tuple[str, str]] = []
        self.conversions = Conversions(step.target, self.destinations, self.named.keys, self._shape)
        self.remarks: list[str] = []
        self.idle: list[str] = []
        self.used: set[str] = set(hooked.used)
        self.selection = Selection(initializer)
        seen = (step.target, self.destinations, self.named.keys, self._shape)
        self.derived = Derivation() if compat else derived(initializer, *seen)
        self.names_of = {key: name for name, keys in self.named.keys.items() for key in keys}
        # Buffers that a state_dict leaves out: their modules compute them.
        computed = computed_names(step.target, compat=compat)
        self.computed = {key for key, name in self.names_of.items() if name in computed and not compat}
        self.permits = Permits(initializer)
        if opened.merged:
            self.permits.act(initializer.adapt, "merge_lora")
        self.numbers = Numbers(initializer, opened, self.named.keys, self.destinations, self.permits)

    def _named_keys(self) -> NamedKeys:
        """The checkpoint's keys by the names that they mean."""
        opened = self.opened
        if opened.unnamed:
            return by_order(self.initializer, self.keys, self.destinations, self._shape)
        return named_keys(
            self.initializer,
            self.keys,
            self.destinations,
            prefix=self.initializer.prefix or opened.prefix,
            taken_off="".join(each for each in opened.wrapping if each.endswith(".")),
            compat=self.compat,
        )

    def result(self) -> tuple[list[tuple[Entry, Value]], Load]:
        """The value of each tensor that the checkpoint has, and the account."""
        found: list[tuple[Entry, Value]] = []
        originals: dict[int, tuple[Entry, dict[int, FromCheckpoint]]] = {}
        for destination in self.destinations.values():
            value = self._value(destination)
            entry = destination.entry
            if isinstance(value, FromCheckpoint) and len(entry.originals) > 1:
                originals.setdefault(id(entry), (entry, {}))[1][id(destination.tensor)] = value
            elif value is not None:
                found.append((entry, value))
        for entry, values in originals.values():
            first = next(iter(values.values()))
            each = tuple(values.get(id(tensor), Keep()) for tensor in entry.originals)
            found.append((entry, Originals(first.source, first.key, values=each)))
        self._part_of_one = {
            id(tensor)
            for entry, values in originals.values()
            for tensor in entry.originals
            if id(tensor) not in values
        }
        self.selection.check(self.destinations, (*self.named.keys, *self.keys))
        self.numbers.check()
        return found, self._account(found)

    def _account(self, found: Sequence[tuple[Entry, Value]]) -> Load:
        loaded = {id(entry) for entry, _ in found}
        # Of a tied tensor, one of its names is enough; of one that is stored as several, each is needed.
        missing = [
            name
            for name in self.missing
            if id(self.destinations[name].entry) not in loaded
            or id(self.destinations[name].tensor) in self._part_of_one
        ]
        unexpected = [key for key in self._left_over() if key not in self.computed]
        mismatched = [name for name, _, _ in self.mismatched]
        silent = {name for name in (*missing, *mismatched) if self.selection.ignores(name)}
        silent_keys = {key for key in unexpected if self.selection.ignores(key, self.names_of[key])}
        if not self.compat:
            self._check_fits(loaded, missing, unexpected, silent | silent_keys)
        prefix, wrong, unwanted = self.prefix, (*missing, *mismatched), {*silent, *self.excluded}
        wanted = {
            id(each.entry)
            for name, each in self.destinations.items()
            if not each.entry.buffer and name not in unwanted
        }
        return replace(
            self.account,
            loaded=len(found),
            missing=tuple(prefix + name for name in missing),
            unexpected=tuple(unexpected),
            mismatched=tuple((prefix + name, here, there) for name, here, there in self.mismatched),
            adapted=tuple((prefix + name, text) for name, text in self.adapted),
            excluded=tuple(prefix + name for name in self.excluded),
            renamed=tuple((key, prefix + name) for key, name in (*self.named.renamed, *self.renamed)),
            converted=tuple((there, here, count) for (there, here), count in self.numbers.converted.items()),
            hints=tuple(self.hints),
            wanted=len(wanted),
            ignored=(*(prefix + name for name in wrong if name in silent), *sorted(silent_keys)),
            buffers=tuple(prefix + name for name in wrong if self.destinations[name].entry.buffer),
            tied=() if self.compat else _tied(found),
            remarks=tuple(self.remarks),
            idle=tuple(self.idle),
            alarms=(*self.hooked.alarms, *self.numbers.alarms()),
            hooks=tuple(self.hooked.runs),
            narrowed=tuple(
                dict.fromkeys(self.destinations[name].entry.name for name in self.numbers.narrowed)
            ),
        )

    def _left_over(self) -> list[str]:
        """The keys that nothing took."""
        known = self.destinations.keys() | self.derived.unused
        names = ((name, keys) for name, keys in self.named.keys.items() if name not in known)
        used = self.used | self.numbers.used
        return [key for _, keys in names for key in keys if key not in used]

    def _check_fits(
        self,
        loaded: Collection[int],
        missing: Sequence[str],
        unexpected: Sequence[str],
        silent: Collection[str],
    ) -> None:
        initializer, shapes = self.initializer, {key: self._shape(key) for key in self.keys}
        asked = unmerged(self.opened)
        asked += [f"adapt={kind!r} would fit {plural(n, 'tensor')}" for kind, n in self.unasked.items()]
        here = {name: each.shape for name, each in self.destinations.items()}
        sides = Sides(here, shapes, {name: shapes[keys[0]] for name, keys in self.named.keys.items()})
        if not loaded and here.keys().isdisjoint([*sides.there, *self.hooked.made]):
            raise nothing_fits(initializer, sides, asked + self.hints)
        gone = [name for name in missing if name not in silent]
        unfit = [name for name, _, _ in self.mismatched if name not in silent]
        self.idle, remarks = self.permits.check(loaded, [*gone, *unfit])
        self.remarks += remarks
        if self.opened.unnamed:
            what = plural(len(loaded), "tensor")
            self.remarks.append(f"{what} without names, taken in the order of the parameters")
        over = [key for key in unexpected if key not in silent]
        if gone or unfit or over:
            likely = partly_fits(
                initializer,
                sides,
                len(loaded),
                missing={name: here[name] for name in gone},
                extra={self.names_of[key]: shapes[key] for key in over},
                mismatched=self.mismatched,
            )
            self.hints[:0] = [*asked, *likely]
        self.remarks += [] if gone or unfit else one_of_several(initializer, False)
        check_strict(initializer, gone, unfit, over, self.hints)

    def _value(self, here: Destination) -> Value | None:
        """What the rule makes of the checkpoint for a tensor, if anything."""
        name = here.name
        permissions = self.selection.permissions(name)
        left = self.selection.leaves_out(name) or name in self.derived.left
        if left or any(each.kind == "drop" for each in permissions):
            if name in self.named.keys or name in self.hooked.made:
                self.permits.act(permissions, "drop")
            self.excluded.append(name)
            return None
        if name in self.derived.new:
            return self.derived.new[name]
        if name in self.hooked.made:
            return self._made_by_hooks(here, permissions)
        keys, steps = self._keys_of(name, permissions)
        if self.compat:
            self.numbers.note_copied(here, keys)
        made = (keys, ()) if self.compat else self.numbers.keys_for(here, keys, permissions)
        if made is None:
            return None
        read, first = made
        # Numbers and scales in turn, where there are scales.
        keys = read[::2] if first else keys
        if len(keys) == 0:
            if not self._stays(here):
                self.missing.append(name)
                self._note_lack(here, permissions)
            self.permits.refuse(permissions, here, None)
            return None
        shapes = [self._shape(key) for key in keys]
        if steps:
            shape = result_shape(shapes, steps)
        elif len(keys) > 1:
            shape, steps = _joined(name, keys, shapes), (("concat",),)
        else:
            shape = shapes[0]
        further = Fitting() if steps and shape == here.shape else fit(here, shape, permissions)
        resized = here.entry.buffer and any(each.kind == "resize" for each in permissions)
        if resized and shape != here.shape and any(each in name for each in COMPUTED):
            # Its module computes it from the sizes that it has here.
            self.used.update(keys)
            self.excluded.append(name)
            self.permits.act(permissions, "resize")
            return None
        may = bool(first) or self.numbers.fit(here, keys, permissions, compat=self.compat)
        if further is None or not may:
            self._mismatch(here, shape)
            self.permits.refuse(permissions, here, shape)
            return None
        self.used.update(keys)
        self.permits.act(further.by)
        steps = (*first, *steps, *further.steps)
        told = [self.opened.merged[key] for key in dict.fromkeys(read) if key in self.opened.merged]
        told += [steps_text(steps)] if steps else []
        self.adapted += [(name, ", ".join(dict.fromkeys(told)))] if told else []
        if not steps:
            return FromCheckpoint(self.account.source, keys[0])
        return Adapted(self.account.source, read[0], steps, read[1:])

    def _made_by_hooks(self, here: Destination, permissions: Sequence[Permission]) -> FromCheckpoint | None:
        """What load hooks of the model computed for a tensor."""
        made = self.hooked.made[here.name]
        fitting = fit(here, made.shape, permissions)
        if fitting is None or not self.numbers.fit_types(here, {made.dtype}, permissions, compat=self.compat):
            self._mismatch(here, made.shape)
            self.permits.refuse(permissions, here, made.shape)
            return None
        self.permits.act(fitting.by)
        key, *others = made.keys or (here.name,)
        if fitting.steps:
            self.adapted.append((here.name, steps_text(fitting.steps)))
        return Hooked(self.account.source, key, fitting.steps, tuple(others), rule=self.rule, name=here.name)

    def _stays(self, here: Destination) -> bool:
        """Whether torch finds nothing missing where the checkpoint has nothing for a tensor."""
        path, _, attribute = here.name.rpartition(".")
        version = self._versions.get(path, {}).get("version")
        counted = attribute == "num_batches_tracked" and counter_may_be_missing(here.module, version)
        return here.name in self.hooked.kept or counted

    def _note_lack(self, here: Destination, permissions: Sequence[Permission]) -> None:
        """Say it where the checkpoint has a part of what a tensor would be made from."""
        lack = None if self.compat else self.conversions.lack(here.name)
        if lack is not None:
            self.permits.refuse_part(permissions, here, lack)
            self.hints.append(f"{self.prefix}{here.name} could be made, but {lack.text}")

    def _mismatch(self, here: Destination, shape: tuple[int, ...]) -> None:
        self.mismatched.append((here.name, here.shape, shape))
        kind = "'dtype'" if shape == here.shape else hint(here, shape)
        if kind is not None and not self.compat:
            self.hints.append(hint_text(here.name, kind, self.prefix + here.name))

    def _keys_of(
        self, name: str, permissions: Sequence[Permission]
    ) -> tuple[Keys, tuple[AdaptationStep, ...]]:
        """The keys that a tensor comes from, and what takes it out of them."""
        if name in self.derived.made:
            names, steps = self.derived.made[name]
            found = tuple(self.named.keys[each][0] for each in names)
            self.renamed += [(found[0], name)] if names != (name,) and not steps else []
            return found, steps
        keys = self.named.keys.get(name, ())
        if self.compat or len(keys) == 1:
            return keys, ()
        found = self.conversions.of_several(name, keys) if keys else self.conversions.of(name)
        if found is None:
            return keys, ()
        if not self.permits.act(permissions, found.kind):
            self.unasked[found.kind] += 1
            return keys, ()
        if not found.steps:
            self.renamed.append((found.keys[0], name))
        return found.keys, found.steps

    def _shape(self, key: str) -> tuple[int, ...]:
        return tuple(self.opened.info(key).shape)


def _tied(found: Sequence[tuple[Entry, Value]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The tensors that are found under several keys, by their names."""
    keys: dict[str, dict[str, None]] = {}
    for entry, value in found:
        # What hooks computed, or what a parametrization stores, has no key of its own.
        if isinstance(value, FromCheckpoint) and type(value) in (FromCheckpoint, Adapted):
            keys.setdefault(entry.name, {})[value.key] = None
    return tuple((name, tuple(each)) for name, each in keys.items() if len(each) > 1)


def _joined(name: str, keys: Keys, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of these tensors one below the other."""
    if not all(shapes) or len({shape[1:] for shape in shapes}) > 1:
        raise CheckpointError(
            f"The keys {', '.join(map(repr, keys))} all become {name!r}, and their shapes "
            f"{', '.join(map(str, shapes))} cannot be joined.",
            fix="Correct rename.",
        )
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])
