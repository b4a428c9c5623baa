"""What ``mmcv.runner`` (1.x) exports for initialization, under the same names and signatures."""

from initcfg.compat.mmengine import BaseModule, ModuleDict, ModuleList, Sequential

__all__ = ["BaseModule", "ModuleDict", "ModuleList", "Sequential"]
