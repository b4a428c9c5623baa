"""Rules as literals in Python code: which line of a call, or of a class, each of them stands at.

Only where it is certain: what stands there must have the same keys and constants as the rules that arrived.
"""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

_DEEPEST = 16
_STEP = re.compile(r"\[(\d+)\]|\.(\w+)")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
UNKNOWN: Final = object()
"""In an outline: anything but a constant, a list or a dict."""


def outline(rules: Any) -> Any:
    """The constants, lists and dicts in rules; it holds no tensor."""
    try:
        return _outline(rules, 0)
    except Exception:
        # A container of somebody's own, which says what is wrong where it is read.
        return UNKNOWN


def _outline(rules: Any, depth: int) -> Any:
    if rules is None or isinstance(rules, (bool, int, float, str)):
        return rules
    if depth < _DEEPEST and isinstance(rules, Mapping):
        return {key: _outline(item, depth + 1) for key, item in rules.items()}
    if depth < _DEEPEST and isinstance(rules, (list, tuple)):
        return [_outline(item, depth + 1) for item in rules]
    return UNKNOWN


def line_in_call(file: str, line: int, end: tuple[int, int] | None, rules: Any, path: str) -> int | None:
    """The line of the rule at ``path``, among rules that a call was given; None if that is not certain.

    Args:
        file: The file of the call, as its code names it.
        line: The line where the call was running.
        end: Where the call ends: line and column, where Python knows it.
        rules: Their outline.
        path: ``"[1].override"``.
    """
    tree = _tree(file)
    if tree is None:
        return None
    calls = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and each.lineno <= line <= (each.end_lineno or 0)
        and end in (None, (each.end_lineno, each.end_col_offset))
    ]
    given = [value for call in calls for value in (*call.args, *(each.value for each in call.keywords))]
    return _line_of(_literals(given, tree, line), rules, path)


def line_in_constructor(file: str, line: int, rules: Any, path: str) -> int | None:
    """The line of a rule that an ``__init__``, which begins at ``line``, gives its class."""
    tree = _tree(file)
    found = [] if tree is None else [each for each in ast.walk(tree) if _begins(each, line)]
    if tree is None or len(found) != 1:
        return None
    function = found[0]
    assert isinstance(function, ast.FunctionDef)
    inner = function.body[-1].end_lineno or line
    return _line_of(_literals(_given_in(function), tree, inner, within=function), rules, path)


def _begins(node: ast.AST, line: int) -> bool:
    first = node.decorator_list[0].lineno if isinstance(node, ast.FunctionDef) and node.decorator_list else 0
    return isinstance(node, ast.FunctionDef) and node.name == "__init__" and line in (node.lineno, first)


def _given_in(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """What an ``__init__`` may make the ``init_cfg`` of its module."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    defaults = [
        *zip(reversed(named), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    yield from (value for each, value in defaults if each.arg == "init_cfg" and value is not None)
    for each in _inside(function):
        if isinstance(each, (ast.Assign, ast.AnnAssign)) and each.value is not None:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if any(_called(target) == "init_cfg" for target in targets):
                yield each.value
        elif isinstance(each, ast.Call) and _called(each.func) == "__init__":
            yield from each.args
            yield from (keyword.value for keyword in each.keywords if keyword.arg == "init_cfg")


def _called(node: ast.AST) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, without those of scopes in it."""
    for each in ast.iter_child_nodes(node):
        yield each
        if not isinstance(each, (*_FUNCTIONS, ast.ClassDef)):
            yield from _inside(each)


def _literals(
    given: Iterable[ast.expr], tree: ast.Module, line: int, within: ast.AST | None = None
) -> Iterator[ast.expr]:
    """The literals that expressions mean: themselves, or what the names in them were set to."""
    for each in given:
        if isinstance(each, (ast.List, ast.Tuple, ast.Dict, ast.Call)):
            yield each
        elif isinstance(each, ast.Name):
            yield from _set_to(each.id, tree, line, within)
        elif isinstance(each, (ast.BoolOp, ast.IfExp)):
            inner = each.values if isinstance(each, ast.BoolOp) else [each.body, each.orelse]
            yield from _literals(inner, tree, line, within)


def _set_to(name: str, tree: ast.Module, line: int, within: ast.AST | None) -> list[ast.expr]:
    """What a name is set to, in the nearest scope around the line that sets it."""
    around = [
        each
        for each in ast.walk(tree)
        if isinstance(each, _FUNCTIONS) and each.lineno <= line <= (each.end_lineno or 0)
    ]
    scopes = [*sorted(around, key=lambda each: each.lineno, reverse=True), tree]
    for scope in scopes if within is None else [within, tree]:
        values: list[ast.expr] = []
        for each in _inside(scope):
            if isinstance(each, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == name for target in each.targets
            ):
                values.append(each.value)
            elif isinstance(each, (ast.AnnAssign, ast.NamedExpr)) and _called(each.target) == name:
                values += [] if each.value is None else [each.value]
        if values or (isinstance(scope, _FUNCTIONS) and name in _parameters(scope)):
            return values
    return []


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    arguments = function.args
    return {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def _line_of(literals: Iterable[ast.expr], rules: Any, path: str) -> int | None:
    found = {id(each): each for each in literals if _parts(each) is not None and _agree(each, rules)}
    if len(found) != 1:
        return None
    node: ast.expr = next(iter(found.values()))
    for index, key in _STEP.findall(path):
        parts = _parts(node)
        inner = None if parts is None else parts.get(int(index) if index else key)
        if inner is None:
            break
        node = inner
    return node.lineno


def _parts(node: ast.expr) -> dict[int | str, ast.expr] | None:
    """The items of a list or dict that is written out whole; None of anything else."""
    if isinstance(node, (ast.List, ast.Tuple)):
        whole = not any(isinstance(each, ast.Starred) for each in node.elts)
        return dict(enumerate(node.elts)) if whole else None
    if isinstance(node, ast.Dict):
        keys = [each.value if isinstance(each, ast.Constant) else None for each in node.keys]
        named = {key: value for key, value in zip(keys, node.values, strict=True) if isinstance(key, str)}
        return {**named} if len(named) == len(keys) else None
    if isinstance(node, ast.Call) and _called(node.func) == "dict" and not node.args:
        named = {each.arg: each.value for each in node.keywords if each.arg is not None}
        return {**named} if len(named) == len(node.keywords) else None
    return None


def _agree(node: ast.expr, rules: Any) -> bool:
    """Whether code may have made these rules: where it holds constants, they are the same."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(rules, (int, float)):
        return _agree(node.operand, -rules)
    if isinstance(node, ast.Constant):
        return rules is UNKNOWN or (type(node.value) is type(rules) and node.value == rules)
    parts = _parts(node)
    if parts is None or rules is UNKNOWN:
        return True
    if isinstance(node, (ast.List, ast.Tuple)):
        return isinstance(rules, list) and len(rules) == len(parts) and all(map(_agree, node.elts, rules))
    return (
        isinstance(rules, dict)
        and rules.keys() == parts.keys()
        and all(_agree(part, rules[key]) for key, part in parts.items())
    )


def _tree(file: str) -> ast.Module | None:
    return _parsed("".join(linecache.getlines(file)))


@lru_cache(maxsize=8)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
