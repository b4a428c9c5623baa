"""Origins: what a model came from, so that a check can say what has changed since."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from initcfg._api.locks.own_modules import is_installed, is_named, modules_said, own_file, with_helpers
from initcfg._api.locks.words import digest
from initcfg._checkpoints import ADAPTER_CONFIG, Lora, open_source, whole_digest
from initcfg._config.builders import is_builder
from initcfg._config.files import Config, file_text, files_of
from initcfg._plan import Load, Plan
from initcfg._rules import resolve_type
from initcfg._stream.writing import as_array
from initcfg.errors import InitcfgError

Facts = Iterator[tuple[str, str]]
_QUOTED = re.compile(r"""['"]([A-Za-z_][\w.:]*)['"]""")


def files_read(config: Any, folder: str) -> Facts:
    """The files of a config, its bases too, as seen from a folder; of any line ends."""
    for path in dict.fromkeys(files_of(config)) if isinstance(config, Config) else ():
        try:
            yield "file", f"{relative(path, folder)} {digest(file_text(path).encode())}"
        except (OSError, ValueError):
            # It has gone since it was read.
            yield "file", f"{relative(path, folder)} unknown"


def code_used(config: Any, cfg: Any, model: nn.Module, plan: Plan) -> Facts:
    """Whose code made the model: libraries with their versions, and modules of one's own with a digest.

    One's own are those of its classes and initializers, what the config names, and all that these import.
    """
    names: set[str] = set()
    type_ = cfg.get("type")
    if isinstance(type_, str) and is_builder(type_):
        names.add(type_.partition(":")[0])
    for cls in {type(module) for module in model.modules()}:
        names.update(base.__module__ for base in cls.__mro__)
    names.update(_initializer_modules(plan))
    libraries: dict[str, str] = {}
    for name in sorted(names):
        top = name.partition(".")[0]
        path = getattr(sys.modules.get(name), "__file__", None)
        if name in sys.modules and is_named(name) and (path is None or is_installed(top, path)):
            libraries[top] = _version(top)
    said = {*modules_said(cfg), *(modules_said(config.to_dict()) if isinstance(config, Config) else ())}
    own: dict[str, str] = {}
    for name in sorted(with_helpers({*names, *said}, _config_code(config))):
        try:
            text = file_text(own_file(name) or "")
        except (OSError, ValueError):
            own[name] = "unknown"
            continue
        if text.strip():
            own[name] = digest(text.encode())
    yield from (("library", f"{name} {version}") for name, version in libraries.items())
    yield from (("code", f"{name} {told}") for name, told in own.items())


def _config_code(config: Any) -> Iterator[str]:
    """The texts of those files of a config that are Python."""
    for path in files_of(config) if isinstance(config, Config) else ():
        if path.endswith(".py"):
            try:
                yield file_text(path)
            except (OSError, ValueError):
                # It has gone since it was read.
                continue


def _initializer_modules(plan: Plan) -> Iterator[str]:
    """Where the initializers of the rules are defined."""
    types = {
        str(item.initializer["type"])
        for item in [*plan.parameters.values(), *plan.buffers.values()]
        if item.initializer is not None and item.rule in plan.rules and "type" in item.initializer
    }
    for type_ in types:
        try:
            yield getattr(resolve_type(type_), "__module__", "builtins")
        except InitcfgError:
            # It was given in code, or is a function: the rule says more.
            continue
    for note in plan.rules.values():
        yield from modules_said(_QUOTED.findall(note.cfg))


def _version(top: str) -> str:
    found = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(found, str):
        return found
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def checkpoints_read(plan: Plan) -> Facts:
    """The checkpoints that are loaded, each with the SHA-256 of its files, where these can be found."""
    for load in plan.loads:
        name = load.checkpoint or load.source
        beside = dict(_beside_adapter(load))
        # What is made of two files is unknown where one of them is.
        yield (
            "checkpoint",
            f"{name} {'unknown' if 'unknown' in beside.values() else _checkpoint_digest(load)}",
        )
        yield from (("checkpoint", f"{each} {told}") for each, told in beside.items())


def _beside_adapter(load: Load) -> Iterator[tuple[str, str]]:
    """The base of an adapter, and the file that says which it is and how it is merged; with their digests."""
    if load.lora is None:
        return
    base, alpha = load.lora
    if base is not None:
        given = load.given_base
        yield (
            base,
            _digest_of_source(base, None, load.offline) if given is None else _digest_of_tensors(given),
        )
    try:
        source = load.checkpoint if load.given is None else None
        lora = Lora(base if load.given_base is None else load.given_base, alpha, weaker=True)
        opened = None if source is None else open_source(source, offline=load.offline, lora=lora)
    except (OSError, InitcfgError):
        return
    for path in () if opened is None else opened.beside_adapter:
        is_settings = path.name == ADAPTER_CONFIG
        told = hashlib.sha256(path.read_bytes()).hexdigest() if is_settings else whole_digest(path)
        yield f"{source}:{path.name}", told


def _checkpoint_digest(load: Load) -> str:
    if load.given is not None:
        return _digest_of_tensors(load.given)
    if load.checkpoint is None:
        return load.sha256 or "unknown"
    return _digest_of_source(load.checkpoint, load.sha256, load.offline)


def _digest_of_source(named: str, known: str | None, offline: bool | None) -> str:
    try:
        opened = open_source(named, offline=offline)
        path = opened.path
        # What is known of an index says nothing of its shards.
        if path is not None and (known is None or path.suffix == ".json" or os.path.isdir(path)):
            return whole_digest(path)
    except (OSError, InitcfgError):
        return known or "unknown"
    return known or opened.sha256 or "unknown"


def _digest_of_tensors(given: Any) -> str:
    """That of a state_dict in memory: its names and bytes."""
    found = hashlib.sha256()
    try:
        for name, tensor in given.items():
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            found.update(as_array(data).tobytes())
    except (AttributeError, TypeError, RuntimeError):
        return "unknown"
    return found.hexdigest()


def relative(path: str, folder: str) -> str:
    """A path as seen from a folder, with slashes; in full, where they have nothing in common."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:
        return path
