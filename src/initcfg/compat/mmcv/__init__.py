"""MMCV 1.x: ``mmcv.runner`` and ``mmcv.cnn`` become ``initcfg.compat.mmcv.runner`` and ``.cnn``."""
