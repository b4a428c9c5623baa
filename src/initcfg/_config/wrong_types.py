"""Values that a config gives to parameters of another type, such as a text for a switch.

Python holds nothing to an annotation: ``bias: "no"`` would be true without a word, and ``n_layer: "2"`` fails
far from the config, if at all.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

from initcfg._config.builders import described
from initcfg._config.settings_classes import alternatives, is_pretrained, is_settings, parameter_hints
from initcfg.errors import BuildError

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number"}
_SWITCHES = {"yes": "true", "true": "true", "on": "true", "no": "false", "false": "false", "off": "false"}


def check_types(factory: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse a text for a parameter that is annotated as a number or a switch.

    A class of settings is also refused true, false and null for a number, unless null is an alternative.
    Annotations are often careless: a value of the default's own type is taken, and a number for another
    kind of number. What pydantic, attrs and transformers build is theirs to check.

    Raises:
        BuildError: A value is of another type; ``key_path`` is the parameter.
    """
    settings = is_settings(factory)
    if settings and not _left_to_python(factory):
        return
    doubtful = (str, bool, type(None)) if settings else (str,)
    if not any(isinstance(given, doubtful) for given in arguments.values()):
        return
    hints = parameter_hints(factory)
    for key, given in arguments.items():
        allowed = [type(None) if each is None else each for each in alternatives(hints.get(key, object))]
        taken = [each for each in _PLAIN if any(each is other for other in allowed)]
        if not isinstance(given, doubtful) or not taken or not all(map(_is_plain, allowed)):
            continue
        if type(given) in allowed or _is_like_default(factory, key, given):
            continue
        error = BuildError(
            f"{key}={given!r} is {_called(given)}, and {described(factory)} takes {_said(taken)} there.",
            fix=_fix(key, given, taken),
        )
        error.key_path = (key,)
        raise error


def _left_to_python(settings: type) -> bool:
    """Whether nothing but an annotation says what the fields of these settings are."""
    if hasattr(settings, "__pydantic_validator__") or is_pretrained(settings):
        return False
    return dataclasses.is_dataclass(settings) or issubclass(settings, tuple)


def _is_plain(hint: Any) -> bool:
    return any(hint is each for each in (*_PLAIN, type(None)))


def _is_like_default(factory: Any, key: str, given: Any) -> bool:
    try:
        default = inspect.signature(factory).parameters[key].default
    except (TypeError, ValueError, KeyError):
        return False
    return type(default) is type(given)


def _called(given: Any) -> str:
    return "null" if given is None else "a text" if isinstance(given, str) else "true or false"


def _said(taken: list[type]) -> str:
    # An int will do for a float.
    kinds = [each for each in taken if not (each is int and float in taken)]
    return " or ".join(_PLAIN[each] for each in kinds)


def _fix(key: str, given: Any, taken: list[type]) -> str:
    meant = None
    if isinstance(given, str):
        if bool in taken:
            meant = _SWITCHES.get(given.strip().lower())
        if meant is None and taken != [bool]:
            meant = _number(given, whole=float not in taken)
    if meant is not None:
        return f"Write {key}: {meant}, without quotation marks."
    return f"Write {_said(taken)}, or leave {key} out."


def _number(text: str, *, whole: bool) -> str | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if number.is_integer() and abs(number) < 1e15 and whole:
        return str(int(number))
    return None if whole or not math.isfinite(number) else repr(number)
