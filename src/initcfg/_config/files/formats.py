"""YAML, JSON and TOML text as plain dicts."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from initcfg._config.files.nesting import MOST_DEEP, MOST_VALUES, check_nesting, too_deep
from initcfg._config.files.yaml_text import load_yaml
from initcfg.errors import ConfigError, ConfigFormatError, ConfigSyntaxError, ConfigTypeError, nearest

SUFFIXES = (".py", ".yaml", ".yml", ".json", ".toml")
_NAMES = {".json": "JSON", ".toml": "TOML"}
# Dotted keys of TOML: what reads them takes a time that grows with the square of the number of parts.
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY = re.compile(rf"(?<![\w.-]){_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MOST_DEEP}}}")


def check_format(suffix: str) -> None:
    """Raise ConfigFormatError unless configs are written so."""
    if suffix not in SUFFIXES:
        raise ConfigFormatError(
            f"{suffix!r} is not a format of a config.",
            meant=nearest(suffix, SUFFIXES),
            fix="Use one of " + ", ".join(SUFFIXES) + ".",
        )


def parse_data(text: str, suffix: str, path: str) -> dict[str, Any]:
    """The dict that a YAML, JSON or TOML text says."""
    parse = {".json": _json, ".toml": _toml}.get(suffix, _yaml)
    try:
        values = parse(text, path)
        check_nesting(values, path, MOST_VALUES)
    except RecursionError:
        raise too_deep(path) from None
    except ConfigError as error:
        error.where = error.where or path
        raise
    except Exception as error:
        # Numbers of 5,000 digits, dates like 2020-13-01, lists as keys, control characters.
        name = _NAMES.get(suffix, "YAML")
        raise _syntax(f"This {name} cannot be read: {_first_line(error)}", path, None) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigTypeError(
            f"A config is a mapping of keys to values, but this file holds a {type(values).__name__}.",
            where=path,
            fix="Write keys, such as model:, with their values.",
        )
    for key in values:
        if not isinstance(key, str):
            raise ConfigTypeError(
                f"The top-level key {key!r} of this config is not a string.", where=path, fix="Quote it."
            )
    return values


def _json(text: str, path: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            places = [match.start() for match in re.finditer(re.escape(json.dumps(twice)) + r"\s*:", text)]
            line = text.count("\n", 0, places[1]) + 1 if len(places) == 2 else None
            raise _syntax(f"The key {twice!r} occurs twice in one object", path, line)
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise _syntax(f"This JSON cannot be parsed: {error.msg}", path, error.lineno, error.colno) from None


def _toml(text: str, path: str) -> Any:
    if _DEEP_KEY.search(text):
        raise too_deep(path)
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, at = str(error).partition(" (at ")
        line, column = (int(number) for number in re.findall(r"\d+", at)) if "line" in at else (None, None)
        if line is None and at:
            line = text.count("\n") + 1
        raise _syntax(f"This TOML cannot be parsed: {message}", path, line, column) from None


def _yaml(text: str, path: str) -> Any:
    import yaml

    try:
        return load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        if line is not None and line > len(text.splitlines()):
            # What is missing at the end is missing in the last line.
            line, column = len(text.splitlines()), None
        context = error.context
        if context and error.context_mark:
            context += f" of line {error.context_mark.line + 1}"
        problem = ": ".join(filter(None, [context, error.problem]))
        tagged = problem.startswith("could not determine a constructor")
        fix = "Use plain YAML: no tag may make Python objects." if tagged else None
        at = text.splitlines()[line - 1] if line else ""
        if "\t" in at[: len(at) - len(at.lstrip())]:
            fix = "Indent with spaces: YAML takes no tabs there."
        raise _syntax(f"This YAML cannot be read: {problem}", path, line, column, fix) from None


def _syntax(
    problem: str, path: str, line: int | None, column: int | None = None, fix: str | None = None
) -> ConfigSyntaxError:
    return ConfigSyntaxError(problem.rstrip(".") + ".", where=file_line(path, line, column), fix=fix)


def file_line(path: str, line: int | None, column: int | None = None) -> str:
    """``path:line:column``, as far as known."""
    return ":".join(str(part) for part in (path, line, column) if part is not None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
