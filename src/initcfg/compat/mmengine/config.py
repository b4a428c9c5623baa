"""``mmengine.config``: config files; the rest is MMEngine's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from initcfg import ConfigDict, DictAction
from initcfg.compat.beside_mmengine import config_class
from initcfg.compat.elsewhere import name_elsewhere

if TYPE_CHECKING:
    from initcfg import Config

__path__: list[str] = []


def __getattr__(name: str) -> Any:
    return config_class() if name == "Config" else name_elsewhere("config", name)


__all__ = ["Config", "ConfigDict", "DictAction"]
