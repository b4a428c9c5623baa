"""A config as text: Python, YAML, JSON or TOML."""

from __future__ import annotations

import datetime
import functools
import importlib
import json
import math
import re
import unicodedata
from collections.abc import Callable
from keyword import iskeyword
from typing import Any

from initcfg._config.files.formats import SUFFIXES, add_float_resolver
from initcfg._config.files.placeholders import ANY
from initcfg.errors import ConfigError, nearest

_WIDTH = 100
# Names that the text of a .py config calls; a key of that name would hide them.
_CALLED = ("float", "set", "frozenset")
_DATES = (datetime.date, datetime.datetime)
_EVERYWHERE = (str, bool, int, float)
_ALLOWED: dict[str, tuple[type, ...]] = {
    ".py": (*_EVERYWHERE, type(None), bytes, complex),
    ".yaml": (*_EVERYWHERE, type(None), bytes, *_DATES),
    ".json": (*_EVERYWHERE, type(None)),
    ".toml": (*_EVERYWHERE, *_DATES, datetime.time),
}
_KEYS: dict[str, tuple[type, ...]] = {
    ".py": (*_EVERYWHERE, type(None)),
    ".yaml": (*_EVERYWHERE, type(None)),
    ".json": (str,),
    ".toml": (str,),
}


def to_text(values: dict[str, Any], suffix: str) -> str:
    """The text that reads back as ``values``; see ``Config.dump``.

    Raises:
        ConfigError: A value or key cannot be written in this format, or the format is unknown.
    """
    suffix = ".yaml" if suffix == ".yml" else suffix
    if suffix not in _ALLOWED:
        raise ConfigError(
            f"{suffix!r} is no format of a config.",
            meant=nearest(suffix, SUFFIXES),
            fix="The format is one of " + ", ".join(SUFFIXES) + ".",
        )
    _check_top_level(values, suffix)
    try:
        cleaned = _cleaned(values, suffix, "")
        write: Callable[[dict[str, Any]], str] = {
            ".py": _python_file,
            ".yaml": _yaml_file,
            ".json": _json_file,
            ".toml": _toml_file,
        }[suffix]
        text = write(cleaned)
        text.encode()
    except RecursionError:
        raise ConfigError("The config is nested too deeply, or contains itself.") from None
    except UnicodeEncodeError as error:
        raise ConfigError(f"A text of the config cannot be written as UTF-8: {error.reason}.") from None
    return text


def _check_top_level(values: dict[str, Any], suffix: str) -> None:
    for key in values:
        reason = None
        if not isinstance(key, str):
            reason = "it is no string"
        elif key in ("_base_", "_deprecation_") or key.startswith("__"):
            reason = "reading the file would not give it back"
        elif suffix == ".py" and not _is_name(key):
            reason = "it is no Python name"
        elif suffix == ".py" and key in _CALLED:
            reason = "it would hide Python's own"
        if reason is not None:
            raise ConfigError(
                f"The top-level key {key!r} cannot be written to a {suffix} file: {reason}.", where=str(key)
            )


def _cleaned(value: Any, suffix: str, path: str) -> Any:
    """``value`` from plain dicts, lists, tuples and what the format can say."""
    kind = type(value)
    if kind in _ALLOWED[suffix]:
        return value
    if isinstance(value, dict):
        for key in value:
            if type(key) not in _KEYS[suffix]:
                raise ConfigError(
                    f"The key {key!r} of {path or 'the config'!r} cannot be written to a {suffix} file.",
                    where=path,
                )
        return {key: _cleaned(item, suffix, f"{path}.{key}" if path else key) for key, item in value.items()}
    if kind in (list, tuple):
        items = [_cleaned(item, suffix, f"{path}.{index}") for index, item in enumerate(value)]
        return tuple(items) if kind is tuple and suffix == ".py" else items
    if kind in (set, frozenset) and suffix == ".py":
        return kind(_cleaned(item, suffix, path) for item in value)
    dotted = _dotted_path(value)
    if dotted is not None:
        return dotted
    what = "None" if value is None else f"a value of the type {kind.__qualname__}"
    raise ConfigError(
        f"The value of {path!r} is {what}, which a {suffix} file cannot say.",
        where=path,
        fix="Leave the key out, or write a .py file."
        if value is None
        else "Use a class or function that can be imported, or plain values."
        if callable(value)
        else "Use plain values: numbers, strings, lists, dicts.",
    )


def _dotted_path(value: Any) -> str | None:
    """Where a class or function can be imported from."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not callable(value) or not isinstance(module, str) or not isinstance(name, str):
        return None
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        return None
    return f"{module}.{name}" if found is value else None


# -- Python --------------------------------------------------------------------------------------


def _python_file(values: dict[str, Any]) -> str:
    literal = "dict" in values  # a key that would hide dict(...)
    lines = [f"{key} = {_python(value, 0, len(key) + 3, literal)}\n" for key, value in values.items()]
    return "".join(lines)


def _python(value: Any, indent: int, used: int, literal: bool) -> str:
    """``value`` in Python; on one line if ``used`` columns before it leave room."""
    flat = _flat_python(value, literal)
    if len(flat) + used <= _WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    inner = indent + 4
    if isinstance(value, dict):
        opening, closing, names = _dict_form(value, literal)
        parts = [
            name + _python(item, inner, inner + len(name) + 1, literal)
            for name, item in zip(names, value.values(), strict=True)
        ]
    else:
        opening, closing = ("(", ")") if isinstance(value, tuple) else ("[", "]")
        parts = [_python(item, inner, inner + 1, literal) for item in value]
    body = "".join(f"{' ' * inner}{part},\n" for part in parts)
    return f"{opening}\n{body}{' ' * indent}{closing}"


def _flat_python(value: Any, literal: bool) -> str:
    if isinstance(value, dict):
        opening, closing, names = _dict_form(value, literal)
        items = zip(names, value.values(), strict=True)
        return opening + ", ".join(name + _flat_python(item, literal) for name, item in items) + closing
    if isinstance(value, list):
        return "[" + ", ".join(_flat_python(item, literal) for item in value) + "]"
    if isinstance(value, tuple):
        items = [_flat_python(item, literal) for item in value]
        return f"({items[0]},)" if len(items) == 1 else "(" + ", ".join(items) + ")"
    if isinstance(value, (set, frozenset)):
        items = sorted(_flat_python(item, literal) for item in value)
        inside = "{" + ", ".join(items) + "}" if items else ""
        return f"frozenset({inside})" if isinstance(value, frozenset) else inside or "set()"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, str):
        return _escaped(repr(value), "{\\x7b")
    return repr(value)


def _is_name(key: str) -> bool:
    # Python reads names in a normal form: 'µ', the micro sign, would come back as the Greek letter.
    return key.isidentifier() and not iskeyword(key) and unicodedata.normalize("NFKC", key) == key


def _dict_form(value: dict[Any, Any], literal: bool) -> tuple[str, str, list[str]]:
    """``dict(`` with ``key=`` where each key is a name, ``{`` with ``'key': `` otherwise."""
    names = all(isinstance(key, str) and _is_name(key) for key in value)
    if names and not literal:
        return "dict(", ")", [f"{key}=" for key in value]
    return "{", "}", [_flat_python(key, literal) + ": " for key in value]


def _escaped(text: str, braces: str) -> str:
    """A quoted string in which nothing looks like a placeholder."""
    return ANY.sub(lambda match: braces + match[0][2:], text) if "{{" in text else text


# -- JSON, YAML, TOML ----------------------------------------------------------------------------


def _json_file(values: dict[str, Any]) -> str:
    return _escaped(json.dumps(values, indent=2, ensure_ascii=False), "{\\u007b") + "\n"


@functools.cache
def _yaml_dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_text(self, data: str) -> Any:
            # Line breaks of Unicode are folded away in the other styles.
            style = '"' if ANY.search(data) or re.search("[\x85\u2028\u2029\ufeff]", data) else None
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, Dumper.represent_text)
    add_float_resolver(Dumper)
    return Dumper


def _yaml_file(values: dict[str, Any]) -> str:
    import yaml

    text = yaml.dump(
        values,
        Dumper=_yaml_dumper(),
        sort_keys=False,
        allow_unicode=True,
        width=10**9,
        default_flow_style=None,
    )
    return _escaped(text, "{\\x7B")


def _toml_file(values: dict[str, Any]) -> str:
    return "\n".join(_toml_table(values, [])).strip("\n") + "\n" if values else ""


def _toml_table(table: dict[str, Any], path: list[str]) -> list[str]:
    """The lines of a table. Tables after its last other value get a header, which keeps the key order."""
    items = list(table.items())
    headed = len(items)
    while headed and isinstance(items[headed - 1][1], dict) and items[headed - 1][1]:
        headed -= 1
    lines = [f"{_toml_key(key)} = {_toml(value, 0)}" for key, value in items[:headed]]
    for key, value in items[headed:]:
        inner = [*path, _toml_key(key)]
        body = _toml_table(value, inner)
        if body[0]:
            body = ["", f"[{'.'.join(inner)}]", *body]
        lines += body
    return lines


def _toml(value: Any, indent: int) -> str:
    if isinstance(value, dict):
        items = [f"{_toml_key(key)} = {_toml_flat(item)}" for key, item in value.items()]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        flat = _toml_flat(value)
        if len(flat) <= _WIDTH - indent:
            return flat
        inner = " " * (indent + 4)
        return "[\n" + "".join(f"{inner}{_toml(item, indent + 4)},\n" for item in value) + " " * indent + "]"
    return _toml_flat(value)


def _toml_flat(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return _toml(value, 0)
    if isinstance(value, list):
        return "[" + ", ".join(_toml_flat(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_string(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return repr(value)


def _toml_string(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return _escaped(quoted, "{\\u007b")


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_string(key)
