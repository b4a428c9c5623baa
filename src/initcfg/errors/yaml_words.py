"""Advice for who writes YAML: what messages show in Python's words, as YAML has it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

_WRITTEN_IN = re.compile(r"\.ya?ml(:\d+)?\)?$")
_PLAIN = re.compile(r"[A-Za-z_.][\w.\-]*(:[\w.\-]+)?\Z")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_KEY = re.compile(r"(?<![\w'\".\[])([a-z_]+)\s?=\s?('[^']*'|\"[^\"]*\"|-?[\w.]+(?<!\.)(?![\w(=]))")
# Arguments of functions and options of commands: they stand in no file.
_NOT_IN_FILES = {"strict", "untrusted", "compat", "rng", "seed", "force", "overrides", "use_python"}


def is_yaml(where: str | None) -> bool:
    """Whether a place is in a YAML file.

    Example:
        >>> from initcfg.errors.yaml_words import is_yaml
        >>> is_yaml("model.init_cfg (resnet.yaml:3)"), is_yaml("model.init_cfg (resnet.py:3)")
        (True, False)
    """
    return where is not None and _WRITTEN_IN.search(where) is not None


def in_yaml(text: str) -> str:
    """A message with the dicts and keywords in it as YAML.

    Example:
        >>> from initcfg.errors.yaml_words import in_yaml
        >>> in_yaml("Write init_cfg=dict(type='Kaiming', layer=['Conv2d', 'Linear']).")
        'Write init_cfg: {type: Kaiming, layer: [Conv2d, Linear]}.'
    """
    made, end = [], 0
    for start, stop, node in _calls(text):
        between = text[end:start]
        made += [_keywords(re.sub(r"([a-z_]+)\s?=\s?$", r"\1: ", between)), _shown(node)]
        end = stop
    return "".join([*made, _keywords(text[end:])])


def _calls(text: str) -> Iterator[tuple[int, int, ast.expr]]:
    """Each outermost ``dict(...)`` that is Python: where it begins and ends, and what it is."""
    end = 0
    for match in re.finditer(r"\bdict\(", text):
        if match.start() < end:
            continue
        for close in re.finditer(r"\)", text[match.start() :]):
            stop = match.start() + close.end()
            try:
                node = ast.parse(text[match.start() : stop], mode="eval").body
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                continue
            end = stop
            yield match.start(), stop, node
            break


def _shown(node: ast.expr) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return "{" + ", ".join(f"{each.arg}: {_shown(each.value)}" for each in node.keywords) + "}"
    if isinstance(node, (ast.List, ast.Tuple)):
        return "[" + ", ".join(map(_shown, node.elts)) + "]"
    return _scalar(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        if _PLAIN.match(value) and value.lower() not in _WORDS:
            return value
        # What needs no escape stands in single quotes, where YAML knows none.
        simple = value.isprintable() and "'" not in value
        return f"'{value}'" if simple else json.dumps(value)
    if value is ...:
        return "..."
    known = {True: "true", False: "false", None: "null"}
    return known[value] if value is None or isinstance(value, bool) else repr(value)


def _keywords(text: str) -> str:
    def changed(match: re.Match[str]) -> str:
        key, value = match.groups()
        if key in _NOT_IN_FILES:
            return match.group()
        try:
            return f"{key}: {_scalar(ast.literal_eval(value))}"
        except (SyntaxError, ValueError):
            return f"{key}: {value}"

    return _KEY.sub(changed, text)
