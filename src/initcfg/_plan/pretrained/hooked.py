"""Load hooks of the model in a plan: they run on shapes, and what they make of the keys is what is matched.

Nothing runs where no module has a hook. Hooks that need numbers to say what they do are given those of the
checkpoint; the model's own stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from initcfg._checkpoints import OpenedCheckpoint
from initcfg._model import (
    Filled,
    HookFailed,
    HookOutcome,
    LoadHooks,
    doors,
    hooks_in,
    modules_in,
    outermost,
    run_load_hooks,
)
from initcfg._plan.loads import HookRun
from initcfg._plan.pretrained.keys import NamedKeys
from initcfg.errors import CheckpointError, plural
from initcfg.values import dtype_name

Versions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Made:
    """A tensor that hooks computed."""

    shape: tuple[int, ...]
    dtype: str
    keys: tuple[str, ...]
    hook: str


@dataclass
class AfterHooks:
    """The keys under the names that load hooks gave them.

    Attributes:
        named: The keys by name, without what hooks computed or took away.
        made: What they computed, by name.
        kept: Names that hooks leave as they are.
        used: Keys that hooks took away, or that went into what they computed.
        runs: What they did, for the account.
        hints: What they reported.
        alarms: What was saved beside tensors, and is not set.
    """

    named: NamedKeys
    made: dict[str, Made] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    runs: list[HookRun] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)


def after_hooks(
    owner: nn.Module,
    start: str,
    named: NamedKeys,
    opened: OpenedCheckpoint,
    versions: Versions,
    *,
    compat: bool,
) -> AfterHooks:
    """What the load hooks of a module and below make of a checkpoint's keys.

    Args:
        start: Canonical name of the module, with a dot if it is not the model.
        versions: What the checkpoint says of modules, by their paths in the owner.

    Raises:
        CheckpointError: A hook cannot run, or does what no plan can say; it names the hook's file and line.
    """
    after = AfterHooks(named)
    after.alarms += _extra_states(owner, named, opened, compat)
    hooks = hooks_in(owner, compat=compat)
    for path in outermost(hooks):
        within = f"{path}." if path else ""
        given = {name: keys for name, keys in named.keys.items() if name.startswith(within)}
        if given:
            _run(after, path, hooks, given, start, opened, versions, compat)
    return after


def _extra_states(owner: nn.Module, named: NamedKeys, opened: OpenedCheckpoint, compat: bool) -> list[str]:
    """A word on what modules would be given beside tensors: that is no weight, and is not set here."""
    states = {*named.keys, *opened.beside}
    found = [
        path or "the model"
        for path, module in modules_in(owner, "", compat=compat)
        if type(module).set_extra_state is not nn.Module.set_extra_state
        and (f"{path}._extra_state" if path else "_extra_state") in states
    ]
    more = f" and {plural(len(found) - 1, 'other')}" if len(found) > 1 else ""
    said = "is not called, though the checkpoint holds a state for it: call it with that"
    return [f"set_extra_state of {found[0]}{more} {said}"] if found else []


def _run(
    after: AfterHooks,
    path: str,
    hooks: Mapping[str, LoadHooks],
    given: Mapping[str, tuple[str, ...]],
    start: str,
    opened: OpenedCheckpoint,
    versions: Versions,
    compat: bool,
) -> None:
    outcome, on_shapes = _outcome(path, hooks, given, opened, versions, compat)
    texts = dict.fromkeys(text for each in hooks.values() if _is_in(each.path, path) for text in each.texts)
    if outcome.messages and not compat:
        raise CheckpointError(
            f"Load hooks of {start + path or 'the model'} refuse {opened.name!r}: {outcome.messages[0]}",
            where=", ".join(texts),
            fix="Give a checkpoint that they take, or exclude what they refuse.",
        )
    after.hints += [f"hooks report: {each}" for each in outcome.messages]
    keys = {name: found for name, found in after.named.keys.items() if name not in given}
    for name, filled in outcome.filled.items():
        if filled.given is not None:
            keys[name] = given[filled.given]
        else:
            depends = tuple(key for each in filled.depends for key in given[each])
            after.made[name] = Made(
                tuple(filled.tensor.shape),
                dtype_name(filled.tensor.dtype),
                depends or given.get(name, ()),
                filled.hook,
            )
            after.used.update(depends)
    for name, origin in outcome.unexpected.items():
        if origin is not None:
            keys.setdefault(name, given[origin])
    after.used.update(key for name in outcome.dropped for key in given[name])
    after.kept.update(outcome.kept)
    after.named = NamedKeys(keys, after.named.renamed)
    after.runs.append(
        HookRun(
            start.rstrip("."),
            path,
            tuple(texts),
            tuple(given.items()),
            tuple((place, json.dumps(said)) for place, said in versions.items() if _is_in(place, path)),
            made_by_hooks(outcome),
            tuple(outcome.dropped),
            tuple(start + name for name in outcome.kept),
            on_shapes,
        )
    )


def _is_in(inner: str, path: str) -> bool:
    return not path or inner == path or inner.startswith(path + ".")


def _outcome(
    path: str,
    hooks: Mapping[str, LoadHooks],
    given: Mapping[str, tuple[str, ...]],
    opened: OpenedCheckpoint,
    versions: Versions,
    compat: bool,
) -> tuple[HookOutcome, bool]:
    """What hooks do, and whether shapes were enough to find out."""
    shapes = {name: on_meta(opened, keys) for name, keys in given.items()}
    try:
        with doors.code_apart(files=False):
            return run_load_hooks(path, hooks, shapes, versions, compat=compat), True
    except HookFailed:
        # Perhaps it looks at numbers.
        numbers = {name: read_keys(opened, keys) for name, keys in given.items()}
    try:
        with doors.code_apart(files=True):
            return run_load_hooks(path, hooks, numbers, versions, compat=compat), False
    except HookFailed as error:
        raise hook_error(error, opened.name) from error


def hook_error(error: HookFailed, name: str) -> CheckpointError:
    """The error for a hook that failed on a checkpoint."""
    return CheckpointError(
        f"A load hook of the model cannot run on {name!r}: {error}.",
        where=error.hook,
        fix=error.fix or "Correct the hook, or give a checkpoint that it takes.",
    )


def on_meta(opened: OpenedCheckpoint, keys: tuple[str, ...]) -> torch.Tensor:
    """The tensor of some keys, joined, without numbers."""
    parts = []
    for key in keys:
        info = opened.info(key)
        dtype = getattr(torch, info.dtype, None)
        dtype = dtype if isinstance(dtype, torch.dtype) else torch.float32
        parts.append(torch.empty(info.shape, dtype=dtype, device="meta"))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def read_keys(opened: OpenedCheckpoint, keys: tuple[str, ...]) -> torch.Tensor:
    """The tensor of some keys, joined."""
    parts = [opened.read(key) for key in keys]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def made_by_hooks(outcome: HookOutcome) -> tuple[tuple[str, str, tuple[int, ...], str], ...]:
    """What hooks gave to other tensors than was there, or changed: see :class:`HookRun`."""

    def told(name: str, filled: Filled) -> tuple[str, str, tuple[int, ...], str]:
        return name, filled.given or "", tuple(filled.tensor.shape), dtype_name(filled.tensor.dtype)

    return tuple(told(name, each) for name, each in outcome.filled.items() if each.given != name)
