"""What the files of the package import from each other, lazy imports inside of functions included."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "initcfg"


@dataclass(frozen=True)
class Import:
    """An import of something of the package.

    Attributes:
        module: The module that imports.
        source: The module that the statement names.
        name: What is taken from it; None for ``import initcfg.x``.
        target: The module that this leads to: a submodule where ``name`` is one.
        line: Where.
        typing: Whether it is only for type checkers.
    """

    module: str
    source: str
    name: str | None
    target: str
    line: int
    typing: bool


@functools.cache
def modules() -> dict[str, Path]:
    """The files of the package, by the name of the module."""
    found: dict[str, Path] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("initcfg", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def folder(module: str) -> str:
    """The package that a module's file lies in; of a front door, itself."""
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


@functools.cache
def imports() -> list[Import]:
    """Every import within the package."""
    known = modules()
    found: list[Import] = []
    for module, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing = {id(node) for block in _typing_blocks(tree) for node in ast.walk(block)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "initcfg":
                assert node.module is not None
                for alias in node.names:
                    below = f"{node.module}.{alias.name}"
                    target = below if below in known else node.module
                    found.append(
                        Import(module, node.module, alias.name, target, node.lineno, id(node) in typing)
                    )
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == "initcfg":
                        found.append(
                            Import(module, alias.name, None, alias.name, node.lineno, id(node) in typing)
                        )
    return found


@functools.cache
def exported(module: str) -> tuple[str, ...]:
    """``__all__`` of a module, as its file says it; without one, what the file defines or names again."""
    body = ast.parse(modules()[module].read_text(encoding="utf-8")).body
    defined = [node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    again = [alias.asname for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
    for node in body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            try:
                return tuple(ast.literal_eval(node.value))
            except ValueError:
                # The package's own is a table.
                return ()
    return (*defined, *filter(None, again))


def _typing_blocks(tree: ast.Module) -> Iterator[ast.If]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            yield node
