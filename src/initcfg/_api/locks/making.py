"""Making a lock: each config is built and planned; no weight is written, but for the numbers of a seed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from initcfg._api import functions
from initcfg._api.locks.built import built_of
from initcfg._api.locks.entries import entries_of, ties_of
from initcfg._api.locks.lock_file import Lock, LockedModel
from initcfg._api.locks.origins import checkpoints_read, code_used, files_read, relative
from initcfg._apply import apply_plan
from initcfg._config import load_config
from initcfg._model import named_tensors
from initcfg._plan import Plan
from initcfg._stream.bits import STREAM_VERSION
from initcfg._stream.writing import as_array
from initcfg._version import __version__
from initcfg.errors import LockError, as_annotated


@dataclass(frozen=True)
class Target:
    """A model to lock: a config or builder, and how it is made and planned.

    Attributes:
        config: A config file, or a builder.
        overrides: ``"key=value"``: what is changed in it.
        compat, strict, untrusted: See :func:`initcfg.plan` and :func:`initcfg.build`.
        no_python: Whether configs that are Python are refused.
        seed: To lock numbers too, and not only what they are drawn from.
    """

    config: str
    overrides: tuple[str, ...] = ()
    compat: str | None = None
    strict: bool = False
    untrusted: bool = False
    no_python: bool = False
    seed: int | None = None


@as_annotated(LockError)
def lock(
    *configs: str | Path,
    path: str | Path = "init.lock",
    seed: int | None = None,
    overrides: Sequence[str] = (),
    compat: str | None = None,
    strict: bool = False,
    untrusted: bool = False,
) -> Lock:
    """Write down what the models of some configs start with, as a text to keep in a repository.

    One line for tensors that are alike; nothing in it depends on the machine, or on torch. :func:`check` says
    later whether code, a library, a config or this package changed it.

    Args:
        configs: Config files, or builders: ``"timm:vit_tiny_patch16_224"``, ``"my.models:net"``. Without any,
            those that the file locks already are locked anew.
        path: The file to write, whole or not at all.
        seed: Lock the numbers that this seed gives, too: each model is initialized in memory.
        overrides: ``"key=value"``: what is changed in each config.
        compat, strict: See :func:`plan`.
        untrusted: See :func:`build`.

    Raises:
        LockError: Nothing says what to lock.

    Example:
        >>> import initcfg, os, tempfile
        >>> linear = dict(overrides=["in_features=4", "out_features=2"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = initcfg.lock("torch.nn:Linear", path=f"{folder}/init.lock", **linear)
        ...     initcfg.check(f"{folder}/init.lock").same
        True
    """
    given = {"compat": compat, "strict": strict, "untrusted": untrusted, "seed": seed}
    return locked([Target(str(config), tuple(overrides), **given) for config in configs], str(path))


def locked(targets: Sequence[Target], path: str) -> Lock:
    """Lock some targets in a file; without any, those that it has already."""
    folder = folder_of(path)
    if not targets:
        targets = [target_of(model, folder) for model in Lock.load(path).models]
    names = [_name(target, folder) for target in targets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LockError(f"{twice!r} is to be locked twice.", fix="Name each config once.")
    made = Lock(tuple(model_of(target, folder) for target in targets))
    made.save(path)
    return made


def model_of(target: Target, folder: str) -> LockedModel:
    """What the model of a target starts with; paths are as seen from ``folder``."""
    loaded = load_config(
        target.config, overrides=target.overrides, use_python=not target.no_python, untrusted=target.untrusted
    )
    # What constructors draw by themselves, into buffers, is alike from run to run.
    model = functions.build(loaded, init=False, seed=target.seed or 0, untrusted=target.untrusted)
    made = functions.located_plan(model, config=loaded, compat=target.compat, strict=target.strict)
    _refuse_unread(made, target.config)
    cfg = functions.model_cfg(loaded, untrusted=target.untrusted)[1]
    facts = [
        *_said(target),
        ("initcfg", __version__),
        ("stream", str(STREAM_VERSION)),
        *files_read(loaded, folder),
        *code_used(loaded, cfg, model, made),
        *checkpoints_read(made),
        ("plan", made.digest),
    ]
    built = built_of(model, made)
    numbers = None if target.seed is None else _numbers(made, model, target.seed)
    entries = entries_of(made, built, numbers)
    return LockedModel(_name(target, folder), tuple(facts), tuple(entries), tuple(ties_of(made)))


def _refuse_unread(made: Plan, config: str) -> None:
    """Refuse a plan that could not open a checkpoint: it says what the model would start with without it."""
    load = next((load for load in made.loads if load.problem is not None), None)
    if load is not None:
        raise LockError(
            f"{config!r} loads a checkpoint that cannot be opened here, so what it starts with is not known. "
            f"{load.problem}",
            rule=load.rule,
            fix="Have the checkpoint at hand; or fetch it once on this machine: initcfg init CONFIG -o FILE.",
        )


def target_of(model: LockedModel, folder: str) -> Target:
    """What a lock says of how a model was made."""
    beside = os.path.join(folder, model.target)
    seed = model.one("seed")
    return Target(
        beside if os.path.exists(beside) else model.target,
        tuple(model.all("set")),
        compat=model.one("compat"),
        seed=None if seed is None else int(seed),
        **{name: model.one(name) is not None for name in ("strict", "untrusted", "no_python")},
    )


def folder_of(path: str) -> str:
    """The folder that a lock lies in."""
    return os.path.dirname(os.path.abspath(path))


def _name(target: Target, folder: str) -> str:
    """What a lock calls a target: a file as seen from there, so that both can move together."""
    return relative(target.config, folder) if os.path.exists(target.config) else target.config


def _said(target: Target) -> list[tuple[str, str]]:
    found = [("set", each) for each in target.overrides]
    for each in fields(target)[2:]:
        value: Any = getattr(target, each.name)
        if value is not None and value is not False:
            found.append((each.name, "yes" if value is True else str(value)))
    return found


def _numbers(plan: Plan, model: nn.Module, seed: int) -> dict[str, bytes]:
    """By tensor, the SHA-256 of the numbers that a seed gives it."""
    apply_plan(plan, model, seed=seed, rng="stream")
    found: dict[str, bytes] = {}
    for entry in named_tensors(model).entries.values():
        data = entry.tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found[entry.name] = hashlib.sha256(as_array(data).tobytes()).digest()
    return found
