"""From the stacks to assignments: for each tensor, the last write wins.

What layers get that are alike is made once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import torch

from initcfg._model import Holding, Likeness, Names
from initcfg._plan.assignment import Assignment
from initcfg._plan.stacks import BEFORE_ALL_RULES, First, Row, Stack, Stacks, TimedStack, is_alone, merge
from initcfg._plan.tracks import Pattern, Stamps, Strand
from initcfg.values import Keep, Opaque, dtype_name

Tunes = Mapping[str, tuple[int, Mapping[str, float | str]]]
"""By tensor: multipliers that a rule gives it which leaves its value, and the place of that rule."""


# Of what stands in a stack's time and it.
_STACK = itemgetter(1)


class _Layer(NamedTuple):
    """What a layer gets, and all that are alike: assignments by attribute, under the names of the first."""

    parameters: tuple[tuple[str, Assignment], ...]
    buffers: tuple[tuple[str, Assignment], ...]
    pattern: Pattern


class Assigned:
    """The assignments of a model.

    Attributes:
        parameters: Of each parameter, under its name. Those of layers that are alike are one object, with the
            name of the first.
        buffers: Of each buffer that something is written to, likewise.
        stamps: The tracks of all.
    """

    def __init__(self, names: Names, stacks: Stacks, tunes: Tunes, *, compat: bool) -> None:
        self.parameters: dict[str, Assignment] = {}
        self.buffers: dict[str, Assignment] = {}
        self.stamps = Stamps()
        self._stacks, self._tunes, self._compat = stacks, tunes, compat
        self._alike: dict[tuple[Any, ...], Assignment] = {}
        # By the identity of a likeness, of a row and of what constructors wrote, which the stacks keep.
        layers: dict[tuple[int, int, int], _Layer] = {}
        parameters, buffers = self.parameters, self.buffers
        columns = zip(names.holdings, stacks.rows, stacks.times, stacks.firsts, strict=True)
        for holding, row, time, first in columns:
            like = holding.like
            if like is None or (holding.looked_at and self._differs(holding)):
                self._one_by_one(holding)
                continue
            key = id(like), id(row), id(first)
            layer = layers.get(key)
            if layer is None:
                layer = layers[key] = self._layer(holding, like, time, row, first)
            before = holding.before
            for attribute, item in layer.parameters:
                parameters[before + attribute] = item
            for attribute, item in layer.buffers:
                buffers[before + attribute] = item
            if row or first:
                self.stamps.add(before, time, layer.pattern)

    def _differs(self, holding: Holding) -> bool:
        """Whether something is said of single tensors of a layer."""
        tunes = self._tunes
        return self._stacks.apart(holding) or any(entry.name in tunes for entry in holding.entries)

    def _layer(self, holding: Holding, like: Likeness, time: int, row: Row, first: First) -> _Layer:
        """What the first of some layers gets that are alike."""
        fixed_of: defaultdict[int, list[TimedStack]] = defaultdict(list)
        for place, stack in first:
            fixed_of[place].append(stack)
        timed_of: defaultdict[int, list[tuple[int, Stack]]] = defaultdict(list)
        for after, (place, stack) in enumerate(row, 1):
            timed_of[place].append((after, stack))
        made: tuple[list[tuple[str, Assignment]], ...] = [], []
        strands: tuple[list[Strand], ...] = [], []
        for place, (attribute, shape, dtype, buffer, frozen, _) in enumerate(like.tensors):
            fixed, timed = tuple(fixed_of.get(place, ())), tuple(timed_of.get(place, ()))
            if buffer and not fixed and not timed:
                continue
            on_it = [*fixed, *[TimedStack(time + after, stack) for after, stack in timed]]
            item = self._item(holding.before + attribute, shape, dtype, buffer, frozen, on_it)
            if item is not None:
                made[buffer].append((attribute, item))
                if on_it:
                    strands[buffer].append(Strand(attribute, shape, item.dtype, fixed, timed))
        return _Layer(tuple(made[0]), tuple(made[1]), Pattern(tuple(strands[0]), tuple(strands[1])))

    def _one_by_one(self, holding: Holding) -> None:
        """The tensors of a module that is like no other, or of which some are not."""
        strands: tuple[list[Strand], ...] = [], []
        for place, entry in enumerate(holding.entries):
            on_it = self._stacks.of(holding, place)
            frozen = not entry.buffer and not entry.tensor.requires_grad
            item = self._item(entry.name, entry.shape, entry.tensor.dtype, entry.buffer, frozen, on_it)
            if item is not None:
                (self.buffers if entry.buffer else self.parameters)[entry.name] = item
                if on_it:
                    strands[entry.buffer].append(Strand(entry.name, item.shape, item.dtype, tuple(on_it)))
        if strands[0] or strands[1]:
            self.stamps.add("", 0, Pattern(tuple(strands[0]), tuple(strands[1])))

    def _item(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        buffer: bool,
        frozen: bool,
        on_it: Sequence[TimedStack],
    ) -> Assignment | None:
        """The assignment of a tensor. What has the same stacks differs in its name alone."""
        if buffer and not on_it:
            return None
        key = None
        if is_alone(on_it) and name not in self._tunes:
            # By identity: the stacks are kept.
            key = (*map(id, map(_STACK, on_it)), shape, dtype, frozen)
            if (same := self._alike.get(key)) is not None:
                return same
        item = _assign(name, shape, dtype_name(dtype), frozen, on_it, self._compat)
        item = item if buffer else _tuned(item, on_it, self._tunes.get(name))
        if key is not None:
            self._alike[key] = item
        return item


def _assign(
    name: str, shape: tuple[int, ...], dtype: str, frozen: bool, stacks: Sequence[TimedStack], compat: bool
) -> Assignment:
    if not stacks:
        return Assignment(name, shape, dtype, Keep(), frozen=frozen)
    if len(stacks) == 1:
        writes = stacks[0].stack.writes
    else:
        writes = tuple(write for _, _, write in merge(stacks, repeats=compat))
    top = writes[-1]
    default = writes[0] if stacks[0].stack.orders[0] == BEFORE_ALL_RULES else None
    if top is default:
        # No rule reaches it.
        return Assignment(name, shape, dtype, top.value, frozen=frozen, default=default)
    ruled = [
        (stack.orders[-1], time, stack.layout)
        for time, stack in stacks
        if stack.orders[-1] != BEFORE_ALL_RULES and not isinstance(stack.top.value, Opaque)
    ]
    return Assignment(
        name=name,
        shape=shape,
        dtype=dtype,
        value=top.value,
        initializer=top.initializer,
        rule=top.rule,
        scaling=top.scaling,
        shadowed=writes[0 if default is None else 1 : -1],
        frozen=frozen,
        default=default,
        layout=max(ruled, key=lambda each: each[:2])[2] if ruled else None,
    )


def _tuned(
    item: Assignment, stacks: Sequence[TimedStack], alone: tuple[int, Mapping[str, float | str]] | None
) -> Assignment:
    """With the multipliers of the last rule that has some: who writes the value may be another."""
    if alone is None and not any(write.tune for _, stack in stacks for write in stack.writes):
        return item
    given = [] if alone is None else [alone]
    for _, stack in stacks:
        given += [(order, write.tune) for order, write in zip(stack.orders, stack.writes, strict=True)]
    given = [each for each in given if each[1]]
    return replace(item, tune=max(given, key=itemgetter(0))[1]) if given else item
