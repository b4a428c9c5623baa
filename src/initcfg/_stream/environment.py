"""What variables of the environment say: the list of ours, and one reader, whose errors name the variable."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from initcfg.errors import ApplyError, CheckpointError, InitcfgError, OutputError

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class _Number:
    least: float
    most: float
    error: type[InitcfgError]
    whole: bool = True
    unit: str = ""


_NUMBERS = {
    "INITCFG_RANK_TIMEOUT": _Number(1e-3, 1e9, ApplyError, whole=False, unit="seconds"),
    "INITCFG_RETRIES": _Number(0, 1_000_000, CheckpointError),
    "INITCFG_STREAM_BUFFER": _Number(1, 1 << 40, OutputError),
    "INITCFG_THREADS": _Number(1, 4096, ApplyError),
    "INITCFG_TIMEOUT": _Number(0.001, 1e6, CheckpointError, whole=False),
}
_FLAGS: dict[str, type[InitcfgError]] = {
    "INITCFG_KERNEL": ApplyError,
    "INITCFG_OFFLINE": CheckpointError,
    "INITCFG_TRACEBACK": ApplyError,
    "INITCFG_TRITON": ApplyError,
}
_FOLDER = "INITCFG_HOME"
SETTINGS = frozenset({_FOLDER, *_NUMBERS, *_FLAGS})
"""Every variable of the package's own."""
# As the mapping behind os.environ has them: bytes, or on Windows capitals.
_KEYS = {name: os.environ.encodekey(name) for name in SETTINGS}


def check_settings() -> None:
    """Raise the error of the first of our variables that is set to what it cannot be, whether used or not."""
    for name in _NUMBERS:
        number(name, 0)
    for name in _FLAGS:
        flag(name)
    text = os.environ.get(_FOLDER, "")
    path = os.path.expanduser(text)
    if os.path.exists(path) and not os.path.isdir(path):
        raise CheckpointError(
            f"The environment variable {_FOLDER} is {text[:80]!r}, which is no folder.",
            fix=f"Let {_FOLDER} name a folder that can be written.",
        )


def number(name: str, default: float) -> float:
    """What one of our variables says: a number; the default where it is unset or empty."""
    if not is_set(name):
        return default
    spec = _NUMBERS[name]
    return number_setting(
        name, default, spec.least, spec.most, error=spec.error, whole=spec.whole, unit=spec.unit
    )


def flag(name: str) -> bool:
    """Whether one of our variables says yes."""
    return flag_setting(name, error=_FLAGS[name])


def turned_off(name: str) -> bool:
    """Whether one of our variables turns off what is on without it."""
    return is_set(name) and bool(os.environ[name].strip()) and not flag(name)


def is_set(name: str) -> bool:
    """Whether one of our variables is set, perhaps to nothing.

    Asked before each draw: ``os.environ`` itself encodes the name anew and raises an error inside, which
    takes as long as filling a small tensor.
    """
    known = getattr(os.environ, "_data", None)
    return name in os.environ if known is None else _KEYS[name] in known


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
        >>> from initcfg._stream.environment import number_setting
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
