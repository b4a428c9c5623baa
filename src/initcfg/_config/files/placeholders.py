"""What stands in double braces: file names, environment variables, values of the base."""

from __future__ import annotations

import os
import re
from typing import Any

from initcfg._config.files.config_dict import ConfigDict, fresh
from initcfg._config.files.key_paths import get_path
from initcfg.errors import ConfigError

PREDEFINED = ("fileDirname", "fileBasename", "fileBasenameNoExtension", "fileExtname")
_PREDEFINED = re.compile(r"\{\{\s*(" + "|".join(PREDEFINED) + r")\s*\}\}")
# A default begins where its spaces end, and holds no braces that open anew: so each character is looked at
# for one opening only, and the time grows with the length of the text and no faster.
_DEFAULT = r"""(?:(?!\{\{|['"]?\}\})\S)+"""
_ENVIRONMENT = re.compile(rf"""\{{\{{['"]?\s*\$(\w+)\s*:\s*(?:({_DEFAULT})\s*)?['"]?\}}\}}""")
# Quotes right around the braces are taken along, so that a JSON file can stay JSON.
_BASE = re.compile(r"""(['"]?)\{\{\s*_base_\.([\w.]+)\s*\}\}\1""")
# A string that the braces above would have to be found in: the writers escape it.
ANY = re.compile(r"\{\{\s*(?:" + "|".join(PREDEFINED) + r"|_base_\.[\w.]+)\s*\}\}|" + _ENVIRONMENT.pattern)
_TOKEN = re.compile(r"<initcfg:_base_\.([\w.]+)>")


def substitute_predefined(text: str, path: str) -> str:
    """Put the names of the config file in place."""
    if "{{" not in text:
        return text
    stem, extension = os.path.splitext(os.path.basename(path))
    parts = (os.path.dirname(path), stem + extension, stem, extension)
    values: dict[str, str] = dict(zip(PREDEFINED, parts, strict=True))
    return _PREDEFINED.sub(lambda match: values[match[1]].replace("\\", "/"), text)


def substitute_environment(text: str, path: str) -> tuple[str, dict[str, str]]:
    """Put environment variables, or their defaults, in place; also the variables that were used."""
    used: dict[str, str] = {}

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2] or ""
        if name in os.environ:
            used[name] = os.environ[name]
        found = os.environ.get(name, default)
        if not found:
            line = text.count("\n", 0, match.start()) + 1
            raise ConfigError(
                f"The environment variable {name!r} is not set, and the config gives no default.",
                where=f"{path}:{line}",
                fix=f"Set {name}, or write {{{{${name}:default}}}}.",
            )
        return found

    return (_ENVIRONMENT.sub(value, text) if "{{" in text else text), used


def asks_environment(text: str) -> bool:
    """Whether a text has a place for an environment variable."""
    return _ENVIRONMENT.search(text) is not None


def mark_base_values(text: str) -> tuple[str, bool]:
    """Turn each ``{{_base_.x}}`` into a string literal that stands for it; was there one?"""
    if "{{" not in text:
        return text, False
    marked, count = _BASE.subn(lambda match: f'"<initcfg:_base_.{match[2]}>"', text)
    return marked, count > 0


def base_path(value: object) -> str | None:
    """The path that a marking string stands for."""
    match = _TOKEN.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def put_base_values(value: Any, base: ConfigDict, path: str) -> Any:
    """``value`` with each marking string replaced by a copy of what it stands for."""
    if isinstance(value, str):
        match = _TOKEN.search(value)
        if match is None:
            return value
        if match[0] != value:
            raise ConfigError(
                f"{{{{_base_.{match[1]}}}}} stands inside a longer string.",
                where=path,
                fix="It stands for a whole value: build the string in Python, from _base_, in a .py config.",
            )
        try:
            found = get_path(base, match[1].split("."))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ConfigError(
                f"The bases of this config have no value {match[1]!r}, "
                f"asked for as {{{{_base_.{match[1]}}}}}.",
                where=path,
                meant=getattr(error, "meant", ()),
            ) from None
        return fresh(found)
    if isinstance(value, ConfigDict):
        for key, item in value.items():
            dict.__setitem__(value, key, put_base_values(item, base, path))
        return value
    if type(value) in (list, tuple):
        return type(value)([put_base_values(item, base, path) for item in value])
    return value
