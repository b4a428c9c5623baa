"""Finding the line of a config file that wrote a value."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from initcfg._config.files.placeholders import base_path
from initcfg._config.files.yaml_text import compose_yaml

BASE_KEY = "_base_"
_REPLACED = -1  # a dict with _delete_=True that does not have the key: no base wrote it either

Path = tuple[str, ...]
Write = tuple[Path, "ast.expr | None", int, bool]  # path, expression, line, whether it merges


@dataclass(frozen=True)
class ConfigFile:
    """A config file as it was parsed."""

    path: str
    text: str
    suffix: str


def line_of(files: Sequence[ConfigFile], keys: Path, folder: str | None = None) -> str | None:
    """``file:line`` where the value at a path was written last; None if that cannot be told.

    The files are in the order in which they wrote, and are named relative to ``folder``, or in full.
    """
    try:
        for index in reversed(range(len(files))):
            file = files[index]
            try:
                line = _in_file(file, keys)
            except _BaseReference as found:
                return line_of(files[:index], found.keys, folder) or _named(file, found.line, folder)
            if line is not None:
                return None if line == _REPLACED else _named(file, line, folder)
    except Exception:  # a place is a help, and its search must never be the trouble
        return None
    return None


def _in_file(file: ConfigFile, keys: Path) -> int | None:
    if file.suffix == ".py":
        writes = _writes(file.text)
        return _search(writes, len(writes), keys)
    return None if file.suffix == ".toml" else _in_node(compose_yaml(file.text), keys, None)


def _named(file: ConfigFile, line: int, folder: str | None) -> str:
    path = file.path if folder is None else os.path.relpath(file.path, folder)
    return path.replace(os.sep, "/") + f":{line}"


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
                    merged = ast.copy_location(as_dict, call)
                    found.append((_without_base(keys), merged, call.lineno, True))
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
    keys = _without_base(_chain(target) or ())
    if keys:
        yield keys, value, target.lineno, False


def _chain(node: ast.expr | None) -> Path | None:
    """``a.b['c'][0]`` as a path."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        key = node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        key = str(node.slice.value)
    else:
        return None
    start = _chain(node.value)
    return None if start is None else (*start, key)


def _without_base(keys: Path) -> Path:
    return keys[1:] if keys[:1] == (BASE_KEY,) else keys


@dataclass(eq=False)
class _BaseReference(Exception):
    """The value is one of the base's, under this path."""

    keys: Path
    line: int


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
        *before, item = node.elts[: int(rest[0]) + 1]
        if any(isinstance(each, ast.Starred) for each in (*before, item)):
            return line
        return _inside(writes, index, item, rest[1:], item.lineno)
    if isinstance(node, ast.Constant):
        keys = base_path(node.value)
        if keys is not None:
            raise _BaseReference((*keys.split("."), *rest), node.lineno)
        return None
    chain = _chain(node)
    if node is not None and chain is not None:
        if chain[0] == BASE_KEY:
            raise _BaseReference((*chain[1:], *rest), node.lineno)
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
