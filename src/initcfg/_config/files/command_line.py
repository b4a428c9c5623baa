"""Configs on the command line of a script of one's own: options of ``argparse`` for what a config says."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from initcfg._config.files.overrides import parse_overrides
from initcfg.errors import log

_BRACKETS = {"(": 1, "[": 1, ")": -1, "]": -1}


class DictAction(argparse.Action):
    """An ``argparse`` action that gathers ``KEY=VALUE`` arguments in a dict, for ``merge_from_dict``.

    Values are read as MMEngine reads them: numbers, ``True``, ``False`` in any letter case, ``None``; ``1,2``
    and ``[1,2]`` are lists, ``(1,2)`` is a tuple, in each other as well; anything else is a string, without
    its spaces and outer quotes. An option that is given several times adds to the dict.

    Example:
        >>> import argparse
        >>> from initcfg import DictAction
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("--cfg-options", nargs="+", action=DictAction)
        >>> parser.parse_args(["--cfg-options", "model.depth=50", "size=(8,16)"]).cfg_options
        {'model.depth': 50, 'size': (8, 16)}
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the arguments to what earlier ones gave.

        Raises:
            argparse.ArgumentError: One of them is no ``KEY=VALUE``, or its brackets do not fit together; the
                parser says so, and ends with exit code 2.
        """
        gathered = dict(getattr(namespace, self.dest, None) or {})
        for pair in [values] if isinstance(values, str) else values or ():
            key, equals, text = pair.partition("=")
            if not equals or not key:
                raise argparse.ArgumentError(self, f"{pair!r} is not KEY=VALUE.")
            depth, least = _depths(text)
            if depth or least < 0:
                raise argparse.ArgumentError(self, f"The brackets of {pair!r} do not fit together.")
            gathered[key] = _parsed(text)
        setattr(namespace, self.dest, gathered)


def _depths(text: str) -> tuple[int, int]:
    """How many brackets are open at the end of a text, and the least on the way."""
    depth = least = 0
    for char in text:
        depth += _BRACKETS.get(char, 0)
        least = min(least, depth)
    return depth, least


def _parsed(text: str) -> Any:
    text = text.strip("'\"").replace(" ", "")
    # Brackets around the whole: what is inside balances by itself, unlike that of `(1,2),(3,4)`.
    around = text[:1] + text[-1:]
    if around in ("()", "[]") and _depths(text[1:-1]) == (0, 0):
        items = [_parsed(part) for part in _parts(text[1:-1])]
        return tuple(items) if around == "()" else items
    if "," in text:
        return [_parsed(part) for part in _parts(text)]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    words = {"true": True, "false": False}
    return None if text == "None" else words.get(text.lower(), text)


def _parts(text: str) -> list[str]:
    """What stands between the commas that are in no brackets; a comma at the end adds nothing."""
    parts, depth = [""], 0
    for char in text:
        depth += _BRACKETS.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts if parts[-1] else parts[:-1]


def add_options(parser: argparse.ArgumentParser, values: Mapping[str, Any], prefix: str = "") -> None:
    """An option for each value of a config, at its dotted path, of the value's type."""
    for key, value in values.items():
        name = f"--{prefix}{key}"
        if isinstance(value, Mapping):
            add_options(parser, value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            parser.add_argument(name, action="store_true")
        elif isinstance(value, (str, int, float)):
            parser.add_argument(name, type=type(value))
        elif isinstance(value, (list, tuple)):
            parser.add_argument(name, type=_reader(value), nargs="+")
        else:
            log("%s is no option: its value %s says no type.", f"{prefix}{key}", repr(value))


def _reader(items: Sequence[Any]) -> Callable[[str], Any]:
    """What reads an item of such a list."""
    kind = type(items[0]) if items else None
    return kind if kind in (str, int, float) else lambda text: parse_overrides([f"item={text}"])["item"]
