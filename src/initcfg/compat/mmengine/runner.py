"""``mmengine.runner``: all of it is MMEngine's own, and works with the models and configs of this mirror."""

from __future__ import annotations

from typing import Any

from initcfg.compat.elsewhere import name_elsewhere

__path__: list[str] = []


def __getattr__(name: str) -> Any:
    return name_elsewhere("runner", name)
