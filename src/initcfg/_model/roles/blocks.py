"""Blocks: which block each residual add is of, and which tensors are in it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from initcfg._model.roles.facts import Stack
from initcfg._model.roles.graph import Paths
from initcfg._model.roles.residuals import Residual
from initcfg._model.roles.stacks import streams_of


@dataclass(frozen=True)
class Blocks:
    """The blocks of a model: its stacks; of each tensor the index of its block, and that of its stack."""

    stacks: tuple[Stack, ...]
    of_tensors: Mapping[str, int]
    stack_of: Mapping[str, int]


@dataclass
class _Found:
    """A stack while it is put together: its blocks; its streams' runs and adds; each add's block."""

    order: dict[str, int]
    runs: list[int]
    adds: list[list[int]]
    owners: dict[int, str]


def blocks_of(
    paths: Paths,
    adds: list[Residual],
    outs: Mapping[int, list[str]],
    inside: Mapping[int, list[str]],
    names: Iterable[str],
) -> Blocks:
    """The blocks that own residual adds, stack by stack.

    Args:
        paths: The graph.
        adds: The residual adds.
        outs: The last weights of each add's branch.
        inside: All weights of each add's branch that have a role.
        names: All parameters.
    """
    names = list(names)
    found: list[_Found] = []
    for stream, owners in _owned_streams(paths, adds, outs, names):
        runs = {(owner, _call(paths, add, owner)) for add, owner in owners.items()}
        blocks = dict.fromkeys(owners.values())
        # What runs on two inputs, as the one tower of a siamese network, is one stack.
        same = next((each for each in found if each.order.keys() & blocks.keys()), None)
        if same is None:
            same = _Found({}, [], [], {})
            found.append(same)
        for each in blocks:
            same.order.setdefault(each, len(same.order))
        same.runs.append(len(runs))
        same.adds.append([each.add for each in stream])
        same.owners.update(owners)
    of_tensors, stack_of = _places(found, outs, inside, names)
    stacks = tuple(Stack(max(each.runs) or None, max(map(len, each.adds))) for each in found)
    return Blocks(stacks, of_tensors, stack_of)


def _owned_streams(
    paths: Paths, adds: list[Residual], outs: Mapping[int, list[str]], names: list[str]
) -> list[tuple[list[Residual], dict[int, str]]]:
    """Each stream of adds, with the block of each add that has one.

    A single add beside lists of blocks, as in a pooling head, is no block, and no stack.
    """
    streams = streams_of(paths, adds)
    listed = any(_items(outs[each.add], str.isdecimal, leaf=False) for each in adds)
    found = []
    for stream in streams:
        owners = _owners(paths, stream, outs, names)
        alone = len(stream) == 1 and not _items(outs[stream[0].add], str.isdecimal, leaf=False)
        if not (listed and alone):
            found.append((stream, owners))
    return found


def _places(
    found: list[_Found], outs: Mapping[int, list[str]], inside: Mapping[int, list[str]], names: list[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Of each tensor the index of its block, and that of its stack."""
    places = {
        block: (stack, index) for stack, each in enumerate(found) for block, index in each.order.items()
    }
    of_tensors: dict[str, int] = {}
    stack_of: dict[str, int] = {}
    for name in names:
        owner = next((each for each in parents(name) if each in places), None)
        if owner is not None:
            stack_of[name], of_tensors[name] = places[owner]
    for stack, each in enumerate(found):
        for add in itertools.chain(*each.adds):
            for name in outs[add] if add in each.owners else ():
                of_tensors.setdefault(name, each.order[each.owners[add]])
            for name in (*outs[add], *inside[add]):
                stack_of.setdefault(name, stack)
    return of_tensors, stack_of


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
