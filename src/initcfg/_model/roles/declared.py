"""Roles as a person declares them: ``dict(residual_out=["*.c_proj.weight"], blocks="transformer.h")``."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from initcfg._model.names import named_tensors
from initcfg._model.roles.facts import ROLE_NAMES, Roles, Stack, TensorRole, in_stack
from initcfg.errors import RoleError, nearest

# Far above what models have.
_LARGEST = 2**31
_COUNTS = ("layers", "residuals", "width", "heads")
_PROJECTIONS = {"attn_qkv", "attn_q", "attn_k", "attn_v"}
_FORM = 'Write roles=dict(residual_out=["*.c_proj.weight"], blocks="transformer.h").'


def declared_roles(model: nn.Module, declared: Mapping[str, Any]) -> Roles:
    """The roles that a person gives by globs over the canonical names of parameters.

    Besides roles: ``blocks``, the name of the module whose children are the blocks, or a list with an
    entry for each stack, of which several modules are a list again; and the numbers ``layers``,
    ``residuals``, ``width`` and ``heads``.
    """
    names = [entry.name for entry in named_tensors(model).parameters]
    roles: dict[str, list[str]] = {}
    for key, written in declared.items():
        if key in ("blocks", *_COUNTS):
            continue
        if key not in ROLE_NAMES:
            raise RoleError(
                f"roles names {key!r}, which is no role.",
                meant=nearest(str(key), (*ROLE_NAMES, "blocks", *_COUNTS)),
                fix=f"Roles are {', '.join(ROLE_NAMES)}; besides, there are blocks, {', '.join(_COUNTS)}.",
            )
        for glob in _globs(key, written):
            found = fnmatch.filter(names, glob)
            if not found:
                raise RoleError(
                    f"roles: {key}={glob!r} matches no parameter.",
                    meant=nearest(glob, names),
                    fix="Give whole names of parameters; '*' stands for any run of characters, dots too.",
                )
            for name in found:
                if key not in roles.setdefault(name, []):
                    roles[name].append(key)
    counts = {key: _count(key, declared[key]) for key in _COUNTS if declared.get(key) is not None}
    held = _blocks(model, declared.get("blocks"), roles)
    ends = _ends(roles)
    stacks = tuple(_stack(each, ends, counts) for each in held)
    of_blocks = {name: (stack, index) for stack, each in enumerate(held) for name, index in each.items()}
    tensors: dict[str, TensorRole] = {}
    of_attention = {name for name, having in roles.items() if not _PROJECTIONS.isdisjoint(having)}
    for name in names:
        if name in roles or name in of_blocks:
            stack, index = of_blocks.get(name, (None, None))
            heads = counts.get("heads") if name in of_attention or not of_attention else None
            role = TensorRole(tuple(roles.get(name, ())), "declared", index, heads)
            tensors[name] = in_stack(role, stacks, stack)
    layers = sum(1 + max(each.values()) for each in held if each)
    if "layers" in counts or "residuals" in counts:
        tensors = {name: _told(each, counts) for name, each in tensors.items()}
    return Roles(
        tensors,
        counts.get("layers") or layers or None,
        counts.get("residuals") or len(ends) or None,
        counts.get("width"),
        stacks=stacks if len(stacks) > 1 else (),
    )


def _ends(roles: Mapping[str, list[str]]) -> list[str]:
    """A tensor for each residual add: the experts of one mixture end one branch together."""
    found: dict[str, str] = {}
    for name, having in roles.items():
        if "residual_out" in having:
            alike = re.sub(r"(.*)(?<![^.])\d+(?![^.])", r"\1*", name) if "expert_out" in having else name
            found.setdefault(alike, name)
    return list(found.values())


def _stack(blocks: Mapping[str, int], ends: list[str], counts: Mapping[str, int]) -> Stack:
    layers = counts.get("layers") or (1 + max(blocks.values()) if blocks else None)
    return Stack(layers, counts.get("residuals") or sum(name in blocks for name in ends) or None)


def _told(role: TensorRole, counts: Mapping[str, int]) -> TensorRole:
    """A number that is declared is that of every tensor."""
    return replace(
        role, layers=counts.get("layers", role.layers), residuals=counts.get("residuals", role.residuals)
    )


def _globs(key: str, written: Any) -> list[str]:
    globs = [written] if isinstance(written, str) else written
    if not isinstance(globs, (list, tuple)) or not all(isinstance(each, str) and each for each in globs):
        raise RoleError(f"roles: {key} must be a glob or a list of them, not {written!r}.", fix=_FORM)
    return list(globs)


def _count(key: str, written: Any) -> int:
    if type(written) is not int or not 0 < written < _LARGEST:
        raise RoleError(f"roles: {key} must be a whole number above 0, not {written!r}.", fix=_FORM)
    return written


def _blocks(model: nn.Module, written: Any, roles: Mapping[str, Any]) -> list[dict[str, int]]:
    """For each stack the index of the block that each parameter is in.

    Blocks are the children of ``blocks``, else of the list with most roles.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if written is not None:
        entries = written if isinstance(written, (list, tuple)) else [written]
        stacks = [_holders(modules, each) for each in entries]
    else:
        lists = [name for name, each in modules.items() if isinstance(each, (nn.ModuleList, nn.Sequential))]
        held = Counter(of for name in roles for of in lists if name.startswith(f"{of}."))
        most = max(held.values(), default=0)
        # Of lists in lists, the outer one.
        stacks = [sorted((of for of, count in held.items() if count == most), key=len)[:1]]
    names = [entry.name for entry in named_tensors(model).parameters]
    found = []
    for holders in stacks:
        blocks: dict[str, int] = {}
        start = 0
        for holder in holders:
            # A layer that is named is a block itself.
            children = [f"{holder}.{name}" for name, _ in modules[holder].named_children()] or [holder]
            for number, child in enumerate(children):
                within = f"{child}."
                blocks |= {name: start + number for name in names if name.startswith(within)}
            start += len(children)
        found.append(blocks)
    return found


def _holders(modules: Mapping[str, nn.Module], written: Any) -> list[str]:
    """The modules whose children are the blocks of one stack."""
    found: list[str] = []
    for glob in _globs("blocks", written):
        named = fnmatch.filter(modules, glob)
        found += named
        if not named:
            raise RoleError(
                f"roles: blocks={glob!r} names no module.",
                meant=nearest(glob, modules),
                fix="Name the module whose children are the blocks, such as a ModuleList.",
            )
    return found
