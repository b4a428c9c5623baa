"""initcfg._config"""

from initcfg._config.models import MODELS
from initcfg._config.registry import Registry, build_from_cfg
from initcfg._config.target import load_target, prepared

__all__ = ["MODELS", "Registry", "build_from_cfg", "load_target", "prepared"]
