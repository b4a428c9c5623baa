"""Versions, as ledgers record them."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions of initcfg and torch."""
    return {"initcfg": __version__, "torch": _of_torch()}


@lru_cache(maxsize=1)
def _of_torch() -> str:
    return metadata.version("torch")
