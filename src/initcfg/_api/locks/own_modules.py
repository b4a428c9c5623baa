"""Own modules: which modules of a project a model's code goes through, found in what they import."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from initcfg._config.files import file_text

# torch changes nothing that a plan does not say, and this package has a line of its own.
_NOT_NAMED = {"torch", "builtins", "initcfg", "abc", "typing", "collections", "__main__"}
_INSTALLED = ("site-packages", "dist-packages")
_BY_NAME = {"import_module", "__import__"}


def is_named(name: str) -> bool:
    """Whether a lock speaks of a module by itself."""
    top = name.partition(".")[0]
    return top not in _NOT_NAMED and top not in sys.stdlib_module_names


def own_file(name: str) -> str | None:
    """The file of a module that is one's own code, imported or not; None of any other."""
    if not is_named(name):
        return None
    path = _file_of(name)
    top = name.partition(".")[0]
    return None if path is None or not path.endswith(".py") or is_installed(top, path) else path


def with_helpers(names: Iterable[str], texts: Iterable[str] = ()) -> set[str]:
    """Modules of one's own with all of one's own that they import, and these in turn.

    What is imported within functions belongs to it too, whether it was already or not: so what a process
    did before makes no difference.

    Args:
        names: The modules that are known.
        texts: Code that is no module, as of configs.
    """
    found: set[str] = set()
    todo = [each for name in names for each in _with_parents(name)]
    for text in texts:
        todo += _imports(text, "")
    while todo:
        name = todo.pop()
        path = None if name in found else own_file(name)
        if path is None:
            continue
        found.add(name)
        package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
        try:
            todo += _imports(file_text(path), package)
        except (OSError, ValueError):
            # Its digest is unknown, too.
            continue
    return found


def modules_said(item: Any) -> Iterator[str]:
    """Modules that texts of a config may name: themselves, or something in them."""
    if isinstance(item, dict):
        for each in item.values():
            yield from modules_said(each)
    elif isinstance(item, (list, tuple)):
        for each in item:
            yield from modules_said(each)
    elif isinstance(item, str):
        named = [item, item.partition(":")[0], item.rpartition(".")[0]]
        yield from (name for name in named if name in sys.modules)
    elif callable(item):
        yield str(getattr(item, "__module__", None) or "builtins")


@lru_cache(maxsize=4096)
def is_installed(top: str, path: str) -> bool:
    """Whether a file is of a library; a project that is installed to be edited is one's own code."""
    if any(f"{os.sep}{each}{os.sep}" in path for each in _INSTALLED):
        return True
    try:
        found = importlib.metadata.distribution(top)
    except importlib.metadata.PackageNotFoundError:
        return False
    beside = path.startswith(os.path.abspath(str(found.locate_file(""))) + os.sep)
    return beside and '"editable": true' not in (found.read_text("direct_url.json") or "")


def _imports(text: str, package: str) -> list[str]:
    """The modules that some code imports, and what they could be; from within a package."""
    found: list[str] = []
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            start = ".".join(part for part in (above if node.level else "", node.module) if part)
            found += [start, *(f"{start}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in _BY_NAME and isinstance(node.args[0].value, str):
                found.append(node.args[0].value)
    return [each for name in found for each in _with_parents(name)]


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts)) if all(parts)]


def _file_of(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    parent = name.rpartition(".")[0]
    within = _folders_of(parent) if parent else None
    if within == []:
        return None
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, within)
        except (ImportError, ValueError, AttributeError, TypeError):
            continue
        if spec is not None:
            return spec.origin if spec.has_location else None
    return None


def _folders_of(name: str) -> list[str]:
    """Where the modules of a package lie; nowhere, if it is none."""
    if name in sys.modules:
        return list(getattr(sys.modules[name], "__path__", []))
    path = _file_of(name)
    return [os.path.dirname(path)] if path and os.path.basename(path) == "__init__.py" else []
