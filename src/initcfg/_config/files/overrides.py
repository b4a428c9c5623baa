"""``key=value`` from the command line, as Python values."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from typing import Any

from initcfg.errors import ConfigError, ConfigTypeError

_WORDS = {"true": True, "false": False, "none": None, "null": None}


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs, as ``--set`` takes them.

    A value is read as a Python literal; ``dict(a=1)``, and bare words inside brackets, are understood
    too. ``true``, ``false``, ``none`` and ``null`` in any letter case, ``inf`` and ``nan`` are what they
    say, ``1,2`` is a list. Anything else is a string; quotes make a string of anything.

    Example:
        >>> from initcfg._config.files import parse_overrides
        >>> parse_overrides(["model.depth=50", "a=[1, 2]", "name=resnet", "flag=true", "x=None", "y='7'"])
        {'model.depth': 50, 'a': [1, 2], 'name': 'resnet', 'flag': True, 'x': None, 'y': '7'}
    """
    if isinstance(pairs, str):
        pairs = [pairs]
    values: dict[str, Any] = {}
    for pair in pairs:
        if not isinstance(pair, str):
            raise ConfigTypeError(
                f"An override is a text, not {pair!r}.", fix="Write KEY=VALUE, or give all as one dict."
            )
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key or not all(part.strip() for part in key.split(".")):
            raise ConfigError(
                f"{pair!r} is not an override.",
                where=f"--set {pair}",
                fix="Write KEY=VALUE, such as model.backbone.depth=50.",
            )
        values[key] = _value(text.strip(), pair)
    return values


def _value(text: str, pair: str) -> Any:
    """The Python value that a text says."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.lower() in ("inf", "+inf", "-inf", "nan"):
        return float(text)
    bracketed = text.startswith(("[", "(", "{", "dict(", "'", '"'))
    try:
        expression = ast.parse(text, mode="eval").body
        # A bare word is a string; within brackets it may be true, none, and so on.
        value = text if isinstance(expression, ast.Name) else _literal(expression)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        if not bracketed:
            # `1,a-b` is not Python, but can still be a list of words.
            return [_value(part.strip(), pair) for part in text.split(",")] if _is_list(text) else text
        raise ConfigError(
            f"The value of {pair!r} cannot be read: {error.args[0] if error.args else error}.",
            where=f"--set {pair}",
            fix="Close each bracket and quote; in a shell, put single quotes around the whole pair.",
        ) from None
    return list(value) if isinstance(value, tuple) and not bracketed else value


def _is_list(text: str) -> bool:
    return "," in text and not any(char in text for char in "[](){}'\" /\\")


def _literal(node: ast.expr) -> Any:
    """A literal, with ``dict(...)`` calls and bare words allowed."""
    if isinstance(node, ast.Name):
        lower = node.id.lower()
        if lower in _WORDS:
            return _WORDS[lower]
        return float(lower) if lower in ("inf", "nan") else node.id
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)](map(_literal, node.elts))
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError("'**' has no place here")
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("dict() takes key=value here")
        return {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        operand = _literal(node.operand)
        if isinstance(operand, float) and not math.isfinite(operand):
            return -operand
    return ast.literal_eval(node)
