"""What the environment says about fetching."""

from __future__ import annotations

import os
from pathlib import Path

from initcfg._stream import flag, flag_setting, number
from initcfg.errors import CheckpointError


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


def other_flag(name: str) -> bool:
    """A variable of another library that says yes or no."""
    return flag_setting(name, error=CheckpointError)


def timeout() -> float:
    """Seconds without a byte after which a connection counts as dead: ``INITCFG_TIMEOUT``, or 60."""
    return number("INITCFG_TIMEOUT", 60.0)


def retries() -> int:
    """How often to try again when nothing gets through: ``INITCFG_RETRIES``, or 4."""
    return int(number("INITCFG_RETRIES", 4))
