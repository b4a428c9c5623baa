"""What variables of the environment say: one reader, whose errors name the variable."""

from __future__ import annotations

import math
import os

from initcfg.errors import InitcfgError

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


def number_setting(
    name: str,
    default: float,
    least: float,
    most: float,
    *,
    error: type[InitcfgError],
    whole: bool = False,
    unit: str = "",
) -> float:
    """The number that a variable holds, from ``least`` to ``most``; the default where it is unset or empty.

    Raises:
        error: It is no such number.

    Example:
        >>> from initcfg._stream import number_setting
        >>> from initcfg.errors import ApplyError
        >>> number_setting("INITCFG_UNSET", 4, 0, 10, error=ApplyError)
        4
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        # No underscores, and no digits of other scripts: a person who wrote them meant something else.
        plain = text.isascii() and "_" not in text
        number: float = (int(text) if whole else float(text)) if plain else math.nan
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        kind = ("a whole number" if whole else "a number") + (f" of {unit}" if unit else "")
        raise error(
            f"The environment variable {name} is {text[:80]!r}.",
            fix=f"Set it to {kind} from {least} to {most}, or unset it.",
        )
    return number


def flag_setting(name: str, *, error: type[InitcfgError]) -> bool:
    """Whether a variable says yes.

    Raises:
        error: It says neither yes nor no.
    """
    value = os.environ.get(name, "").strip().lower()
    if value not in _YES | _NO:
        raise error(
            f"The environment variable {name} is {value[:80]!r}, neither yes nor no.",
            fix=f"Set {name}=1 or 0.",
        )
    return value in _YES


def switched_off(name: str, *, error: type[InitcfgError]) -> bool:
    """Whether a variable turns off what is on without it."""
    return bool(os.environ.get(name, "").strip()) and not flag_setting(name, error=error)
