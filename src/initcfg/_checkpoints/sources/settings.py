"""What the environment says about fetching."""

from __future__ import annotations

import os
from pathlib import Path

from initcfg.errors import CheckpointError

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


def home() -> Path:
    """The folder of everything that is kept: ``INITCFG_HOME``, or ``initcfg`` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    wanted = os.environ.get("INITCFG_HOME") or f"{cache}/initcfg"
    try:
        return Path(wanted).expanduser().absolute()
    except RuntimeError as error:
        raise CheckpointError(
            f"There is no place for what is fetched: {wanted!r} is below a home that this user has not.",
            fix="Let INITCFG_HOME name a folder that can be written.",
        ) from error


def is_offline(offline: bool | None) -> bool:
    """Whether to do without the network; None asks ``INITCFG_OFFLINE``."""
    return flag("INITCFG_OFFLINE") if offline is None else bool(offline)


def flag(name: str) -> bool:
    """A variable that says yes or no."""
    value = os.environ.get(name, "").strip().lower()
    if value not in _YES | _NO:
        raise CheckpointError(
            f"The environment variable {name} is {value!r}, neither yes nor no.", fix=f"Set {name}=1 or 0."
        )
    return value in _YES


def timeout() -> float:
    """Seconds without a byte after which a connection counts as dead: ``INITCFG_TIMEOUT``, or 60."""
    return _number("INITCFG_TIMEOUT", 60.0, 0.001)


def retries() -> int:
    """How often to try again when nothing gets through: ``INITCFG_RETRIES``, or 4."""
    return int(_number("INITCFG_RETRIES", 4, 0))


def _number(name: str, default: float, least: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < 1e6:
        raise CheckpointError(
            f"The environment variable {name} is {text!r}, which is not a number of at least {least:g}."
        )
    return value
