"""Versions, as ledgers record them."""

from __future__ import annotations

from importlib import metadata

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions of initcfg and torch."""
    return {"initcfg": __version__, "torch": metadata.version("torch")}
