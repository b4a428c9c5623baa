"""Roles as a person declares them: ``dict(residual_out=["*.c_proj.weight"], blocks="transformer.h")``."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._model.names import named_tensors
from initcfg._model.roles.facts import ROLE_NAMES, Roles, TensorRole
from initcfg.errors import RoleError, nearest

# Far above what models have.
_LARGEST = 2**31
_COUNTS = ("layers", "residuals", "width", "heads")
_FORM = 'Write roles=dict(residual_out=["*.c_proj.weight"], blocks="transformer.h").'


def declared_roles(model: nn.Module, declared: Mapping[str, Any]) -> Roles:
    """The roles that a person gives by globs over the canonical names of parameters.

    Besides roles: ``blocks``, the names of the modules whose children are the blocks, and the numbers
    ``layers``, ``residuals``, ``width`` and ``heads``.
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
    blocks = _blocks(model, declared.get("blocks"), roles)
    tensors = {
        name: TensorRole(tuple(roles.get(name, ())), "declared", blocks.get(name), counts.get("heads"))
        for name in names
        if name in roles or name in blocks
    }
    layers = counts.get("layers") or (1 + max(blocks.values()) if blocks else None)
    outputs = sum("residual_out" in each.roles for each in tensors.values())
    return Roles(tensors, layers, counts.get("residuals") or outputs or None, counts.get("width"))


def _globs(key: str, written: Any) -> list[str]:
    globs = [written] if isinstance(written, str) else written
    if not isinstance(globs, (list, tuple)) or not all(isinstance(each, str) and each for each in globs):
        raise RoleError(f"roles: {key} must be a glob or a list of them, not {written!r}.", fix=_FORM)
    return list(globs)


def _count(key: str, written: Any) -> int:
    if type(written) is not int or not 0 < written < _LARGEST:
        raise RoleError(f"roles: {key} must be a whole number above 0, not {written!r}.", fix=_FORM)
    return written


def _blocks(model: nn.Module, written: Any, roles: Mapping[str, Any]) -> dict[str, int]:
    """The index of the block that each parameter is in: of ``blocks``, else of the list with most roles."""
    modules = {name: module for name, module in model.named_modules() if name}
    if written is not None:
        holders: list[str] = []
        for glob in _globs("blocks", written):
            named = fnmatch.filter(modules, glob)
            holders += named
            if not named:
                raise RoleError(
                    f"roles: blocks={glob!r} names no module.",
                    meant=nearest(glob, modules),
                    fix="Name the module whose children are the blocks, such as a ModuleList.",
                )
    else:
        lists = [name for name, each in modules.items() if isinstance(each, (nn.ModuleList, nn.Sequential))]
        held = Counter(of for name in roles for of in lists if name.startswith(f"{of}."))
        most = max(held.values(), default=0)
        # Of lists in lists, the outer one.
        holders = sorted((of for of, count in held.items() if count == most), key=len)[:1]
    found: dict[str, int] = {}
    names = [entry.name for entry in named_tensors(model).parameters]
    start = 0
    for holder in holders:
        children = [name for name, _ in modules[holder].named_children()]
        for number, child in enumerate(children):
            within = f"{holder}.{child}."
            found |= {name: start + number for name in names if name.startswith(within)}
        start += len(children)
    return found
