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
from initcfg._model.roles.facts import ROLE_NAMES, Roles


def declaration(model: nn.Module, found: Roles) -> dict[str, Any]:
    """What was found as ``roles=dict(...)``; blocks only where they can be said so."""
    names = [entry.name for entry in named_tensors(model).parameters]
    said: dict[str, Any] = {}
    for role in ROLE_NAMES:
        having = [name for name, each in found.tensors.items() if role in each.roles]
        if having:
            said[role] = globs_of(having, names)
    blocks = _holders(found)
    if blocks:
        with_blocks = said | {"blocks": blocks[0] if len(blocks) == 1 else blocks}
        layers = {name: each.layer for name, each in declared_roles(model, with_blocks).tensors.items()}
        if all(layers.get(name) == each.layer for name, each in found.tensors.items()):
            return with_blocks
    return said


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


def _holders(found: Roles) -> list[str]:
    """The modules whose children are the blocks, by what the tensors of each block have in common."""
    within: dict[int, list[str]] = {}
    for name, each in found.tensors.items():
        if each.layer is not None:
            within.setdefault(each.layer, []).append(name)
    holders = {}
    for _, names in sorted(within.items()):
        first, last = min(names).split("."), max(names).split(".")
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        block = ".".join(one for one, _ in alike)
        holders[block.rpartition(".")[0]] = None
    return [] if "" in holders else list(holders)
