"""Finding the line of a config file that wrote a value."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from initcfg._config.files.placeholders import base_path

BASE_KEY = "_base_"
_REPLACED = -1  # a dict with _delete_=True that does not have the key: no base wrote it either

Path = tuple[str, ...]
Write = tuple[Path, "ast.expr | None", int, bool]  # path, expression, line, whether it merges


@dataclass(frozen=True)
class Source:
    """A config file as it was parsed."""

    path: str
    text: str
    suffix: str


def locate(sources: Sequence[Source], keys: Path, folder: str | None = None) -> str | None:
    """The place, ``file:line``, where the value at a path was written last; None if it cannot be told.

    Args:
        sources: The files, in the order in which they wrote.
        keys: The path; list indices as text.
        folder: Files are named relative to this folder; without it, in full.
    """
    try:
        for index in range(len(sources) - 1, -1, -1):
            source = sources[index]
            if source.suffix == ".py":
                line, base_keys = _in_python(source, keys)
            else:
                line, base_keys = _in_yaml(source, keys), None
            if base_keys is not None:
                return locate(sources[:index], base_keys, folder) or _named(source, line, folder)
            if line == _REPLACED:
                return None
            if line is not None:
                return _named(source, line, folder)
    except Exception:  # a place is a help, and its search must never be the trouble
        return None
    return None


def _named(source: Source, line: int | None, folder: str | None) -> str:
    path = source.path if folder is None else os.path.relpath(source.path, folder)
    return path.replace(os.sep, "/") + f":{line}"


# -- Python --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _writes(text: str) -> list[Write]:
    """What the statements of a file assign, in order: and what `update` merges."""
    found: list[Write] = []
    for statement in _flat(ast.parse(text).body):
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                found += _targets(target, statement.value)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            found += _targets(statement.target, statement.value)
        elif isinstance(statement, (ast.AugAssign, ast.For)):
            found += _targets(statement.target, None)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            call = statement.value
            if isinstance(call.func, ast.Attribute) and call.func.attr in ("update", "merge"):
                keys = _chain(call.func.value)
                as_dict = ast.Call(ast.Name("dict", ast.Load()), call.args, call.keywords)
                if keys is not None:  # of `_base_` itself too: its path is empty
                    found.append((keys, ast.copy_location(as_dict, call), call.lineno, True))
    return found


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for name in ("body", "orelse", "finalbody"):
                yield from _flat(getattr(statement, name, []))


def _targets(target: ast.expr, value: ast.expr | None) -> Iterator[Write]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for item in target.elts:
            yield from _targets(item, None)
        return
    keys = _chain(target)
    if keys:
        yield keys, value, target.lineno, False


def _chain(node: ast.expr) -> Path | None:
    """``a.b['c'][0]`` as a path; ``_base_`` at its start is left out."""
    if isinstance(node, ast.Name):
        return () if node.id == BASE_KEY else (node.id,)
    if isinstance(node, ast.Attribute):
        start = _chain(node.value)
        return None if start is None else (*start, node.attr)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        start = _chain(node.value)
        return None if start is None else (*start, str(node.slice.value))
    return None


def _of_base(node: ast.expr) -> bool:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return isinstance(node, ast.Name) and node.id == BASE_KEY


class _BaseReference(Exception):
    """The value is one of the base's, under this path."""

    def __init__(self, keys: Path, line: int) -> None:
        super().__init__(keys)
        self.keys = keys
        self.line = line


def _in_python(source: Source, keys: Path) -> tuple[int | None, Path | None]:
    """The line in this file, and the path in the bases if this file only refers to them."""
    try:
        writes = _writes(source.text)
        return _search(writes, len(writes), keys), None
    except _BaseReference as reference:
        return reference.line, reference.keys


def _search(writes: list[Write], before: int, keys: Path) -> int | None:
    """The last of the first ``before`` writes that made the value at ``keys``."""
    for index in range(before - 1, -1, -1):
        path, value, line, merges = writes[index]
        if keys[: len(path)] == path and not (merges and keys == path):
            found = _inside(writes, index, value, keys[len(path) :], line)
            if found is not None:
                return found
    return None


def _inside(writes: list[Write], index: int, node: ast.expr | None, rest: Path, line: int) -> int | None:
    """The line of ``rest`` in an expression; ``line`` is where the expression is given its name."""
    if not rest:
        return line
    if isinstance(node, ast.Dict):
        return _in_entries(writes, index, list(zip(node.keys, node.values, strict=True)), rest)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        entries: list[tuple[Any, ast.expr]] = [(None, argument) for argument in node.args]
        entries += [(keyword if keyword.arg else None, keyword.value) for keyword in node.keywords]
        return _in_entries(writes, index, entries, rest)
    if isinstance(node, (ast.List, ast.Tuple)):
        if not rest[0].isdecimal() or int(rest[0]) >= len(node.elts):
            return None
        before = node.elts[: int(rest[0]) + 1]
        if any(isinstance(item, ast.Starred) for item in before):
            return line
        return _inside(writes, index, before[int(rest[0])], rest[1:], before[int(rest[0])].lineno)
    if isinstance(node, ast.Constant):
        keys = base_path(node.value)
        if keys is not None:
            raise _BaseReference((*keys.split("."), *rest), node.lineno)
        return None
    chain = None if node is None else _chain(node)
    if node is not None and chain is not None:
        if _of_base(node):
            raise _BaseReference((*chain, *rest), node.lineno)
        # A name holds what was last written to it before this statement.
        return _search(writes, index, (*chain, *rest)) or line
    return line


def _in_entries(
    writes: list[Write], index: int, entries: list[tuple[Any, ast.expr]], rest: Path
) -> int | None:
    """The line of ``rest`` in the entries of a dict; an entry without key is another dict's entries."""
    for key, value in reversed(entries):
        if key is None:
            found = _inside(writes, index, value, rest, value.lineno)
            if found is not None:
                return found
        elif _key(key) == rest[0]:
            return _inside(writes, index, value, rest[1:], key.lineno)
    for key, value in entries:
        if key is not None and _key(key) == "_delete_" and isinstance(value, ast.Constant) and value.value:
            return _REPLACED
    return None


def _key(node: Any) -> str | None:
    if isinstance(node, ast.keyword):
        return node.arg
    return str(node.value) if isinstance(node, ast.Constant) else None


# -- YAML, and JSON which is nearly YAML ---------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _composed(text: str) -> Any:
    import yaml

    return yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _in_yaml(source: Source, keys: Path) -> int | None:
    if source.suffix == ".toml":
        return None
    return _in_node(_composed(source.text), keys, None)


def _in_node(node: Any, rest: Path, line: int | None) -> int | None:
    if not rest:
        return line
    if node.id == "sequence":
        if not rest[0].isdecimal() or int(rest[0]) >= len(node.value):
            return None
        item = node.value[int(rest[0])]
        return _in_node(item, rest[1:], item.start_mark.line + 1)
    if node.id != "mapping":
        return None
    deleted = False
    for key, value in reversed(node.value):
        if key.value == rest[0]:
            return _in_node(value, rest[1:], key.start_mark.line + 1)
        deleted |= key.value == "_delete_" and value.value == "true"
    for key, value in node.value:
        if key.value == "<<":
            for merged in value.value if value.id == "sequence" else [value]:
                found = _in_node(merged, rest, None)
                if found is not None:
                    return found
    return _REPLACED if deleted else None
