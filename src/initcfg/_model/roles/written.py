"""Roles as a person would declare them: the dict that says what was found, to be changed."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from initcfg._model.names import named_tensors
from initcfg._model.roles.declared import declared_roles
from initcfg._model.roles.facts import ROLE_NAMES, Roles, TensorRole


def declaration(model: nn.Module, found: Roles) -> dict[str, Any]:
    """What was found as ``roles=dict(...)``; blocks only where they can be said so."""
    names = [entry.name for entry in named_tensors(model).parameters]
    said: dict[str, Any] = {}
    for role in ROLE_NAMES:
        having = [name for name, each in found.tensors.items() if role in each.roles]
        if having:
            said[role] = globs_of(having, names)
    numbers = _numbers(found)
    stacks = _holders(found)
    if stacks:
        # A list has an entry for each stack: several lists of one stack are a list within it.
        entries: list[Any] = [each[0] if len(each) == 1 else each for each in stacks]
        with_blocks = said | {"blocks": entries[0] if entries == stacks[0] else entries}
        declared = declared_roles(model, with_blocks)
        back = declared.tensors
        if len(found.stacks) > 1 and declared.stacks != found.stacks:
            return said | numbers
        if declared.residuals != found.residuals and found.residuals:
            numbers["residuals"] = found.residuals
        if all(
            name in back and _place(back[name]) == _place(each)
            for name, each in found.tensors.items()
            if each.layer is not None
        ) and all(
            found.tensors[name].layer is not None
            for name, each in back.items()
            if each.layer is not None and name in found.tensors
        ):
            return with_blocks | numbers
    if len(found.stacks) < 2:
        counts = {"layers": found.layers, "residuals": found.residuals}
        numbers |= {key: count for key, count in counts.items() if count}
    return said | numbers


def _numbers(found: Roles) -> dict[str, int]:
    """What no glob says, where it is one number for the whole model."""
    heads = {each.heads for each in found.tensors.values() if each.heads is not None}
    known = {"width": found.width, "heads": heads.pop() if len(heads) == 1 else None}
    return {key: number for key, number in known.items() if number is not None}


def _place(role: TensorRole) -> tuple[int | None, int | None, int | None]:
    return role.layer, role.layers, role.stack


def globs_of(chosen: Sequence[str], names: Sequence[str]) -> list[str]:
    """The fewest globs, made by leaving numbers open, that match these of the names and no others."""
    left = dict.fromkeys(chosen)
    globs = []
    for name in chosen:
        if name not in left:
            continue
        open_ = re.sub(r"(?<![^.])\d+(?![^.])", "*", name)
        matched = fnmatch.filter(names, open_)
        glob = open_ if set(matched) <= set(chosen) and name in matched else _literal(name)
        for each in fnmatch.filter(list(left), glob):
            del left[each]
        globs.append(glob)
    return globs


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _holders(found: Roles) -> list[list[str]]:
    """Of each stack the modules whose children are the blocks, by what the tensors of a block share."""
    within: dict[int, dict[int, list[str]]] = {}
    for name, each in found.tensors.items():
        if each.layer is not None:
            within.setdefault(each.stack or 0, {}).setdefault(each.layer, []).append(name)
    stacks = [_holders_of(blocks) for _, blocks in sorted(within.items())]
    return stacks if all(stacks) else []


def _holders_of(blocks: dict[int, list[str]]) -> list[str]:
    holders = {}
    for _, names in sorted(blocks.items()):
        first, last = min(names).split("."), max(names).split(".")
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        block = ".".join(one for one, _ in alike)
        holders[block.rpartition(".")[0]] = None
    return [] if "" in holders else list(holders)
