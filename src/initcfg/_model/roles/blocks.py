"""Blocks: which block each residual add is of, and which tensors are in it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from initcfg._model.roles.graph import Paths
from initcfg._model.roles.residuals import Residual


@dataclass(frozen=True)
class Blocks:
    """The blocks of a model, in the order in which they run: by name, and how many run."""

    names: tuple[str, ...]
    count: int
    of_tensors: Mapping[str, int]


def blocks_of(
    paths: Paths, adds: list[Residual], outs: Mapping[int, list[str]], names: Iterable[str]
) -> Blocks:
    """The blocks that own residual adds; ``outs`` are the last weights of each add's branch."""
    names = list(names)
    owners = _owners(paths, adds, outs, names)
    order: dict[str, int] = {}
    runs: set[tuple[str, int]] = set()
    for each in adds:
        owner = owners.get(each.add)
        if owner is not None:
            order.setdefault(owner, len(order))
            runs.add((owner, _call(paths, each.add, owner)))
    of_tensors = {}
    for name in names:
        owner = next((each for each in parents(name) if each in order), None)
        if owner is not None:
            of_tensors[name] = order[owner]
    for each in adds:
        for name in outs[each.add]:
            if each.add in owners:
                of_tensors.setdefault(name, order[owners[each.add]])
    return Blocks(tuple(order), len(runs), of_tensors)


def parents(name: str) -> list[str]:
    """The modules that a tensor is in, the innermost first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]


def _owners(
    paths: Paths, adds: list[Residual], outs: Mapping[int, list[str]], names: list[str]
) -> dict[int, str]:
    """The block of each add: an item of a list, else the module that adds, else the add itself."""
    items = {each.add: _items(outs[each.add], str.isdecimal, leaf=False) for each in adds}
    if not any(items.values()):
        items = {each.add: _items(outs[each.add], str.isdecimal, leaf=True) for each in adds}
        lists = {each[-1].rpartition(".")[0] if each else None for each in items.values()}
        if None in lists or len(lists) > 1:
            # Some number their blocks in names: layer1, encoder_layer_0.
            items = {each.add: _items(outs[each.add], _ends_in_number, leaf=False) for each in adds}
    listed = any(items.values())
    # An item that adds by itself too is one block, whatever lists are in it.
    whole = {levels[-1] for levels in items.values() if levels}
    repeated = _repeated(items.values(), names)
    owners = {}
    for number, each in enumerate(adds):
        levels = items[each.add]
        if levels:
            inner = [
                level
                for level in range(1, len(levels))
                if _masked(levels[level]) in repeated and levels[level - 1] not in whole
            ]
            owners[each.add] = levels[max(inner, default=0)]
        elif not listed:
            owners[each.add] = paths.graph.places[paths.nodes[each.add].place][0] or f"#{number}"
    return owners


def _items(outs: list[str], is_item: Callable[[str], bool], *, leaf: bool) -> list[str]:
    """The items of lists that the last weight of a branch is in, the outermost first: ``layers.0``.

    With ``leaf``, the layer that owns the weight may be an item itself, where a branch is one layer.
    """
    if not outs:
        return []
    parts = outs[0].split(".")[:-1]
    ends = range(1, len(parts) + leaf)
    return [".".join(parts[:end]) for end in ends if is_item(parts[end - 1])]


def _ends_in_number(part: str) -> bool:
    return part[-1:].isdecimal()


def _masked(item: str) -> str:
    return re.sub(r"\d+(?![^.])", "*", item)


def _repeated(items: Iterable[list[str]], names: list[str]) -> set[str]:
    """The lists, as patterns, that hold several items of the same make: blocks, not the parts of one."""
    inner: dict[str, dict[str, dict[str, None]]] = {}
    for levels in items:
        for item in levels[1:]:
            holder = item.rpartition(".")[0]
            inner.setdefault(_masked(item), {}).setdefault(holder, {})[item] = None
    tensors: dict[str, set[str]] = {}
    for name in names:
        for each in parents(name):
            tensors.setdefault(each, set()).add(name[len(each) :])
    found = set()
    for pattern, holders in inner.items():
        for held in holders.values():
            makes = [tensors.get(item, set()) for item in held]
            if any(_are_alike(one, other) for one, other in itertools.pairwise(makes)):
                found.add(pattern)
    return found


def _are_alike(one: set[str], other: set[str]) -> bool:
    """Whether two items are of one make: one may have a shortcut that the other lacks."""
    return 2 * len(one & other) > len(one | other)


def _call(paths: Paths, add: int, owner: str) -> int:
    """Which run of its block an add was done in: a block may run more than once."""
    at = paths.nodes[add].place
    for place in range(at, -1, -1):
        name, call = paths.graph.places[place]
        if name == owner:
            return call
    return 0
