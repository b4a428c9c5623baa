"""Pretrained rules in a plan: which tensor of a checkpoint goes where, found by name and shape.

Nothing is read but keys, shapes and types. What fits becomes a write over every other rule; what does not is
in the account, and stays with the next rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from initcfg._checkpoints import OpenedCheckpoint
from initcfg._model import Entry, Names
from initcfg._plan.assignment import Shadowed
from initcfg._plan.loads import Load
from initcfg._plan.pretrained.fitting import COMPUTED, Place, fit, hint
from initcfg._plan.pretrained.keys import Named, named_keys
from initcfg._plan.pretrained.places import local_tensors, places_of
from initcfg._plan.pretrained.problems import check_strict, nothing_fits, other_prefix, unmatched_pattern
from initcfg._plan.pretrained.qkv import fused_from, split_from
from initcfg._plan.stacks import Stack
from initcfg._rules import Rule, location
from initcfg._rules import Step as Run
from initcfg._rules.initializers import Permission, PretrainedInit
from initcfg.errors import CheckpointError, InitcfgError, TensorError, plural
from initcfg.values import AdaptationStep, Adapted, FromCheckpoint, Layout, dtype_name, steps_text

Opener = Callable[[PretrainedInit], OpenedCheckpoint]


def match(step: Run, names: Names, opener: Opener, *, compat: bool) -> tuple[list[tuple[Entry, Stack]], Load]:
    """The writes of one Pretrained step, and the account of what does and does not fit.

    A checkpoint that cannot be opened is no error yet: the plan says so, and apply refuses.

    Raises:
        CheckpointError: It fits nothing, or less than ``strict`` demands.
        PatternError: A pattern or a rename matches nothing.
    """
    rule = step.rule
    assert rule is not None and rule.pretrained is not None
    initializer = rule.pretrained
    account = Load(
        rule.where,
        source=f"{initializer.label} given in {rule.where}" if initializer.in_code else initializer.label,
        checkpoint=None if initializer.in_code else initializer.label,
        expected=initializer.sha256,
        part=initializer.part,
        offline=initializer.offline,
        finite=initializer.finite,
    )
    if initializer.part is not None and not initializer.in_code:
        # Two states of one file are two sources.
        account = replace(account, source=f"{account.source} ({initializer.part})")
    try:
        opened = opener(initializer)
    except CheckpointError as error:
        return [], replace(account, problem=error.problem)
    if initializer.in_code:
        account = replace(account, given=initializer.state())
    account = replace(account, wrapping=opened.wrapping, sha256=opened.sha256)
    try:
        return _Match(step, names, opened, rule, initializer, account, compat).result()
    except InitcfgError as error:
        if compat and isinstance(error, CheckpointError):
            return [], replace(account, problem=error.problem)
        error.rule = error.rule or str(rule)
        error.where = error.where or location(rule.where, rule.written)
        raise
    finally:
        opened.close()


@dataclass
class _Account:
    """What is counted on the way."""

    missing: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    adapted: list[tuple[str, str]] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    converted: dict[tuple[str, str], int] = field(default_factory=dict)
    projections: int = 0
    used: set[str] = field(default_factory=set)
    hits: set[str] = field(default_factory=set)


class _Match:
    def __init__(
        self,
        step: Run,
        names: Names,
        opened: OpenedCheckpoint,
        rule: Rule,
        initializer: PretrainedInit,
        account: Load,
        compat: bool,
    ) -> None:
        self.step, self.rule, self.initializer, self.compat = step, rule, initializer, compat
        self.opened, self.account = opened, account
        self.local = local_tensors(step.target, names)
        start = names.modules[id(step.target)]
        self.prefix = f"{start}." if start else ""
        self.keys = list(opened.keys())
        self.named: Named = named_keys(
            initializer,
            self.keys,
            self.local,
            prefix=initializer.prefix or opened.prefix,
            taken_off="".join(each for each in opened.wrapping if each.endswith(".")),
            compat=compat,
        )
        self.places = places_of(step.target, self.local)
        self.counts = _Account()

    def result(self) -> tuple[list[tuple[Entry, Stack]], Load]:
        found: dict[str, tuple[Entry, Stack]] = {}
        for name, entry in self.local.items():
            value = self._value(name, entry)
            if value is not None:
                found[name] = entry, self._stack(entry, value)
        self._check_patterns()
        loaded = {id(entry) for entry, _ in found.values()}
        counts = self.counts
        # Of a tied tensor, one of its names is enough.
        missing = [name for name in counts.missing if id(self.local[name]) not in loaded]
        unexpected = [
            key
            for name, keys in self.named.keys.items()
            if name not in self.local
            for key in keys
            if key not in counts.used
        ]
        if not self.compat:
            self._check_fits(found, missing, unexpected)
        self.step.used = bool(found)
        prefix = self.prefix
        load = replace(
            self.account,
            loaded=len(found),
            missing=tuple(prefix + name for name in missing),
            unexpected=tuple(unexpected),
            mismatched=tuple((prefix + name, here, there) for name, here, there in counts.mismatched),
            adapted=tuple((prefix + name, text) for name, text in counts.adapted),
            excluded=tuple(prefix + name for name in counts.excluded),
            renamed=tuple((key, prefix + name) for key, name in self.named.renamed),
            converted=tuple((there, here, count) for (there, here), count in counts.converted.items()),
            hints=tuple(counts.hints),
        )
        return list(found.values()), load

    def _check_fits(self, found: Mapping[str, Any], missing: list[str], unexpected: list[str]) -> None:
        counts = self.counts
        if counts.projections:
            counts.hints.append(f"adapt='qkv' would fit {plural(counts.projections, 'tensor')}")
        if not found and not any(name in self.named.keys for name in self.local):
            raise nothing_fits(self.initializer, self.local, self.keys, self.named, counts.hints)
        check_strict(
            self.initializer, missing, [name for name, _, _ in counts.mismatched], unexpected, counts.hints
        )
        if len(found) < len(self.local) / 2:
            better = other_prefix(self.initializer, self.local, self.named, len(found))
            if better is not None:
                counts.hints.append(better)

    def _stack(self, entry: Entry, value: FromCheckpoint) -> Stack:
        if len(entry.originals) > 1:
            raise TensorError(
                f"A parametrization stores this weight as {len(entry.originals)} tensors, and Pretrained "
                "cannot load those yet.",
                parameter=entry.name,
                shape=entry.shape,
                fix="Load first, then register the parametrization.",
            )
        write = Shadowed(self.rule.where, value, self.rule.initializer("weight"))
        return Stack((self.step.order,), (write,), Layout(tuple(entry.tensor.shape)))

    # -- one tensor ------------------------------------------------------------------------------

    def _value(self, name: str, entry: Entry) -> FromCheckpoint | None:
        """What the checkpoint has for a tensor, if anything."""
        counts, place = self.counts, self.places[name]
        permissions = [each for each in self.initializer.adapt if self._covers(each, name)]
        if self._left_out(name, permissions):
            counts.excluded.append(name)
            return None
        keys, steps = self._keys_of(name, place, permissions)
        if len(keys) == 0:
            counts.missing.append(name)
            return None
        shapes = [self._shape(key) for key in keys]
        if len(keys) > 1:
            joined = _joined(shapes)
            if joined is None:
                raise CheckpointError(
                    f"The keys {', '.join(map(repr, keys))} all become {name!r}, and their shapes "
                    f"{', '.join(map(str, shapes))} cannot be joined.",
                    fix="Correct rename.",
                )
            shape, steps = joined, (("concat",), *steps)
        else:
            shape = place.shape if steps else shapes[0]
        further = () if steps and shape == place.shape else fit(place, shape, permissions)
        resized = entry.buffer and any(each.kind == "resize" for each in permissions)
        if resized and shape != place.shape and any(each in name for each in COMPUTED):
            # Its module computes it from the sizes that it has here.
            counts.used.update(keys)
            counts.excluded.append(name)
            return None
        if further is None or not self._convertible(name, entry.tensor.dtype, keys, permissions):
            self._mismatch(name, place, shape)
            return None
        counts.used.update(keys)
        if not (steps + further):
            return FromCheckpoint(self.account.source, keys[0])
        counts.adapted.append((name, steps_text(steps + further)))
        return Adapted(self.account.source, keys[0], steps + further, keys[1:])

    def _mismatch(self, name: str, place: Place, shape: tuple[int, ...]) -> None:
        self.counts.mismatched.append((name, place.shape, shape))
        kind = "'dtype'" if shape == place.shape else hint(place, shape)
        if kind is not None and not self.compat:
            self.counts.hints.append(f"adapt={{{name!r}: {kind}}} would fit {self.prefix}{name}")

    def _keys_of(
        self, name: str, place: Place, permissions: Sequence[Permission]
    ) -> tuple[tuple[str, ...], tuple[AdaptationStep, ...]]:
        """The keys that a tensor comes from, and what takes it out of them."""
        if name in self.named.keys:
            return self.named.keys[name], ()
        keys, steps = self._projections(name, place)
        if keys and not any(each.kind == "qkv" for each in permissions):
            self.counts.projections += 1
            return (), ()
        return keys, steps

    def _projections(self, name: str, place: Place) -> tuple[tuple[str, ...], tuple[AdaptationStep, ...]]:
        """Attention's q, k and v, where they are one tensor there and three here, or the other way round."""
        if self.compat:
            return (), ()
        parts = fused_from(name, place.shape, self.named.keys, self._shape)
        if parts is not None:
            return tuple(self.named.keys[part][0] for part in parts), ()
        shapes = {other: each.shape for other, each in self.places.items()}
        split = split_from(name, shapes, self.named.keys, self._shape)
        if split is not None:
            return self.named.keys[split[0]], split[1]
        return (), ()

    def _left_out(self, name: str, permissions: Sequence[Permission]) -> bool:
        included = [each for each in self.initializer.include if each.covers(name)]
        excluded = [each for each in self.initializer.exclude if each.covers(name)]
        self.counts.hits.update("include:" + each.text for each in included)
        self.counts.hits.update("exclude:" + each.text for each in excluded)
        dropped = any(each.kind == "drop" for each in permissions)
        return bool(excluded) or dropped or (bool(self.initializer.include) and not included)

    def _covers(self, permission: Permission, name: str) -> bool:
        found = permission.covers(name)
        if found and permission.pattern is not None:
            self.counts.hits.add("adapt:" + permission.pattern.text)
        return found

    def _check_patterns(self) -> None:
        adapt = [each.pattern for each in self.initializer.adapt if each.pattern is not None]
        for key, patterns in (
            ("include", self.initializer.include),
            ("exclude", self.initializer.exclude),
            ("adapt", adapt),
        ):
            for pattern in patterns:
                if f"{key}:{pattern.text}" not in self.counts.hits:
                    raise unmatched_pattern(key, pattern, self.local)

    def _shape(self, key: str) -> tuple[int, ...]:
        return tuple(self.opened.info(key).shape)

    def _convertible(
        self, name: str, here: torch.dtype, keys: Sequence[str], permissions: Sequence[Permission]
    ) -> bool:
        """Whether the type there may become the type here; what changes is counted."""
        types = {self.opened.info(key).dtype for key in keys}
        mine = dtype_name(here)
        for there in types:
            theirs = getattr(torch, there, None)
            loses = isinstance(theirs, torch.dtype) and _rank(theirs) > _rank(here)
            if loses and not self.compat and not any(each.kind == "dtype" for each in permissions):
                return False
        for there in types - {mine}:
            self.counts.converted[there, mine] = self.counts.converted.get((there, mine), 0) + 1
        return True


def _rank(dtype: torch.dtype) -> int:
    """Truth values, whole numbers, real ones, complex ones: each holds what is before it."""
    if dtype.is_complex:
        return 3
    return 2 if dtype.is_floating_point else 0 if dtype == torch.bool else 1


def _joined(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    if not all(shapes) or len({shape[1:] for shape in shapes}) > 1:
        return None
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])
