"""What is asked of the commands on a config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What the commands on a config have in common: which config, changed how, planned how."""

    config: str
    overrides: tuple[str, ...] = ()
    no_python: bool = False
    untrusted: bool = False
    compat: str | None = None
    strict: bool = False
    model_example: str | None = None
