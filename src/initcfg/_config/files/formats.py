"""YAML, JSON and TOML text as plain dicts."""

from __future__ import annotations

import functools
import json
import re
import sys
from typing import Any

from initcfg.errors import ConfigError, ConfigFormatError, ConfigSyntaxError, ConfigTypeError, nearest

SUFFIXES = (".py", ".yaml", ".yml", ".json", ".toml")
# More values than any config has: a YAML file whose aliases multiply is refused, not expanded.
_MOST_VALUES = 1_000_000
# PyYAML reads 1e-3 as a string, since YAML 1.1 wants a dot and a sign; YAML 1.2 does not.
FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
)


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
    except RecursionError:
        raise ConfigSyntaxError("The config is nested too deeply to be read.", where=path) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigTypeError(
            f"A config is a mapping of keys to values, but this file holds a {type(values).__name__}.",
            where=path,
        )
    for key in values:
        if not isinstance(key, str):
            raise ConfigTypeError(f"The top-level key {key!r} of this config is not a string.", where=path)
    return values


def _json(text: str, path: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            places = [match.start() for match in re.finditer(re.escape(json.dumps(twice)) + r"\s*:", text)]
            line = text.count("\n", 0, places[1]) + 1 if len(places) == 2 else None
            raise _syntax(f"The key {twice!r} occurs twice in one object", path, line)
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise _syntax(f"This JSON cannot be parsed: {error.msg}", path, error.lineno, error.colno) from None


def _toml(text: str, path: str) -> Any:
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
        values = yaml.load(text, Loader=_yaml_loader())
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
        raise _syntax(f"This YAML cannot be read: {problem}", path, line, column, fix) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        # Control characters, dates like 2020-13-01, keys that are lists.
        raise _syntax(f"This YAML cannot be read: {error}", path, None) from None
    if _size(values, {}, path) > _MOST_VALUES:
        raise ConfigError(
            f"The aliases of this YAML stand for more than {_MOST_VALUES:,} values.", where=path
        )
    return values


@functools.cache
def _yaml_loader() -> Any:
    """PyYAML's safe loader, which refuses a key that occurs twice and knows 1e-3 to be a number."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                    continue
                if key.value in seen and not getattr(node, "merged", False):
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} occurs twice", key.start_mark
                    )
                seen.add(key.value)
            # A node that is used again through an alias has its merged keys in place by then.
            node.merged = True
            return super().construct_mapping(node, deep)

    add_float_resolver(Loader)
    return Loader


def add_float_resolver(handler: Any) -> None:
    """Let a PyYAML loader or dumper class know that 1e-3 is a number."""
    handler.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def _size(value: Any, known: dict[int, int], path: str) -> int:
    """How many values there are once each alias is a copy of its own."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = -1
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known, path) for item in items)
    if known[id(value)] < 0:
        raise ConfigError("A value of this YAML contains itself, through an alias.", where=path)
    return known[id(value)]


def _syntax(
    problem: str, path: str, line: int | None, column: int | None = None, fix: str | None = None
) -> ConfigSyntaxError:
    return ConfigSyntaxError(problem.rstrip(".") + ".", where=file_line(path, line, column), fix=fix)


def file_line(path: str, line: int | None, column: int | None = None) -> str:
    """``path:line:column``, as far as known."""
    return ":".join(str(part) for part in (path, line, column) if part is not None)
