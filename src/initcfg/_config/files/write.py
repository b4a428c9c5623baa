"""A config as text: Python, YAML, JSON or TOML."""

from __future__ import annotations

import datetime
import functools
import importlib
import json
import math
import re
import unicodedata
from keyword import iskeyword
from typing import Any

from initcfg._config.files.formats import check_format
from initcfg._config.files.placeholders import ANY
from initcfg._config.files.yaml_text import add_float_resolver
from initcfg.errors import ConfigError

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


def to_text(values: dict[str, Any], suffix: str) -> str:
    """The text that reads back as ``values``; see ``Config.dump``."""
    suffix = ".yaml" if suffix == ".yml" else suffix
    check_format(suffix)
    _check_top_level(values, suffix)
    try:
        text = _WRITERS[suffix](_cleaned(values, suffix, ""))
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
            reason = "it is not a string"
        elif key in ("_base_", "_deprecation_") or key.startswith("__"):
            reason = "reading the file would not give it back"
        elif suffix == ".py" and not _is_name(key):
            reason = "it is not a Python name"
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
        keys = (str,) if suffix in (".json", ".toml") else (*_EVERYWHERE, type(None))
        for key in value:
            if type(key) not in keys:
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


def _python_file(values: dict[str, Any]) -> str:
    literal = "dict" in values  # a key that would hide dict(...)
    return "".join(f"{key} = {_python(item, literal, 0, len(key) + 3)}\n" for key, item in values.items())


def _python(value: Any, literal: bool, indent: int | None = None, used: int = 0) -> str:
    """``value`` in Python: on one line, unless there is an indent, and ``used`` columns leave too little."""
    if isinstance(value, dict):
        # dict(key=...) where each key is a name, {'key': ...} otherwise.
        names = not literal and all(isinstance(key, str) and _is_name(key) for key in value)
        opening, closing = ("dict(", ")") if names else ("{", "}")
        heads = [f"{key}=" if names else _python(key, literal) + ": " for key in value]
        items = list(value.values())
    elif isinstance(value, (list, tuple)):
        opening, closing = "[]" if isinstance(value, list) else "()"
        heads, items = [""] * len(value), list(value)
    else:
        return _python_atom(value)
    flat = ", ".join(head + _python(item, literal) for head, item in zip(heads, items, strict=True))
    flat = f"{opening}{flat}{',' if isinstance(value, tuple) and len(value) == 1 else ''}{closing}"
    if indent is None or not items or len(flat) + used <= _WIDTH:
        return flat
    inner = indent + 4
    parts = [
        head + _python(item, literal, inner, inner + len(head) + 1)
        for head, item in zip(heads, items, strict=True)
    ]
    body = "".join(f"{' ' * inner}{part},\n" for part in parts)
    return f"{opening}\n{body}{' ' * indent}{closing}"


def _python_atom(value: Any) -> str:
    if isinstance(value, (set, frozenset)):
        items = ", ".join(sorted(_python(item, False) for item in value))
        inside = f"{{{items}}}" if items else ""
        return f"frozenset({inside})" if isinstance(value, frozenset) else inside or "set()"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return _escaped(repr(value), "{\\x7b") if isinstance(value, str) else repr(value)


def _is_name(key: str) -> bool:
    # Python reads names in a normal form: 'µ', the micro sign, would come back as the Greek letter.
    return key.isidentifier() and not iskeyword(key) and unicodedata.normalize("NFKC", key) == key


def _escaped(text: str, braces: str) -> str:
    """A quoted string in which nothing looks like a placeholder."""
    return ANY.sub(lambda match: braces + match[0][2:], text) if "{{" in text else text


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

    style: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 10**9}
    return _escaped(yaml.dump(values, Dumper=_yaml_dumper(), allow_unicode=True, **style), "{\\x7B")


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
        lines += ["", f"[{'.'.join(inner)}]", *body] if body[0] else body
    return lines


def _toml(value: Any, indent: int | None = None) -> str:
    """``value`` in TOML: on one line, unless it is a list that has an indent and too little room."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        flat = "[" + ", ".join(map(_toml, value)) + "]"
        if indent is None or len(flat) <= _WIDTH - indent:
            return flat
        inner = " " * (indent + 4)
        return "[\n" + "".join(f"{inner}{_toml(item, indent + 4)},\n" for item in value) + " " * indent + "]"
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


_WRITERS = {".py": _python_file, ".yaml": _yaml_file, ".json": _json_file, ".toml": _toml_file}
