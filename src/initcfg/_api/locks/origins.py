"""Origins: what a model came from, so that a check can say what has changed since."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

from initcfg._api.locks.words import digest
from initcfg._config.builders import is_builder
from initcfg._config.files import Config, file_text, files_of
from initcfg._plan import Plan
from initcfg._rules import resolve_type
from initcfg.errors import InitcfgError

Facts = Iterator[tuple[str, str]]
# torch changes nothing that a plan does not say, and this package has a line of its own.
_NOT_NAMED = {"torch", "builtins", "initcfg", "abc", "typing", "collections"}
_INSTALLED = ("site-packages", "dist-packages")


def files_read(config: Any, folder: str) -> Facts:
    """The files of a config, its bases too, as seen from a folder; of any line ends."""
    for path in dict.fromkeys(files_of(config)) if isinstance(config, Config) else ():
        try:
            yield "file", f"{relative(path, folder)} {digest(file_text(path).encode())}"
        except (OSError, ValueError):
            # It has gone since it was read.
            yield "file", f"{relative(path, folder)} unknown"


def code_used(cfg: Any, model: nn.Module, plan: Plan) -> Facts:
    """Whose code made the model: libraries with their versions, and modules of one's own with a digest."""
    names: set[str] = set()
    type_ = cfg.get("type")
    if isinstance(type_, str) and is_builder(type_):
        names.add(type_.partition(":")[0])
    for cls in {type(module) for module in model.modules()}:
        names.update(base.__module__ for base in cls.__mro__)
    names.update(_initializer_modules(plan))
    libraries: dict[str, str] = {}
    own: dict[str, str] = {}
    for name in sorted(names):
        top = name.partition(".")[0]
        module = sys.modules.get(name)
        if top in _NOT_NAMED or top in sys.stdlib_module_names or module is None:
            continue
        path = getattr(module, "__file__", None)
        if path is None or _is_installed(top, path):
            libraries[top] = _version(top)
            continue
        try:
            own[name] = digest(file_text(path).encode())
        except (OSError, ValueError):
            own[name] = "unknown"
    yield from (("library", f"{name} {version}") for name, version in libraries.items())
    yield from (("code", f"{name} {told}") for name, told in own.items())


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
            # It was given in code, and has no name.
            continue


def _is_installed(top: str, path: str) -> bool:
    """Whether a file is of a library; a project that is installed to be edited is one's own code."""
    if any(f"{os.sep}{each}{os.sep}" in path for each in _INSTALLED):
        return True
    try:
        found = importlib.metadata.distribution(top)
    except importlib.metadata.PackageNotFoundError:
        return False
    beside = path.startswith(os.path.abspath(str(found.locate_file(""))) + os.sep)
    return beside and '"editable": true' not in (found.read_text("direct_url.json") or "")


def _version(top: str) -> str:
    found = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(found, str):
        return found
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def checkpoints_read(plan: Plan) -> Facts:
    """The checkpoints that are loaded, each with the SHA-256 of its file where that is at hand."""
    for load in plan.loads:
        named = load.checkpoint or load.source
        yield "checkpoint", f"{named} {load.sha256 or _file_digest(named)}"


def _file_digest(path: str) -> str:
    if not os.path.isfile(path):
        return "unknown"
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def relative(path: str, folder: str) -> str:
    """A path as seen from a folder, with slashes; in full, where they have nothing in common."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:
        return path
