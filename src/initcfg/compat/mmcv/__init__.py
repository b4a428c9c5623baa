"""MMCV 1.x: ``mmcv.runner`` and ``mmcv.cnn`` become ``initcfg.compat.mmcv.runner`` and ``.cnn``.

In: code that imports from MMCV 1.x.
Out: the same names, from here.

Read: `runner.py` (the modules), then `cnn.py` (the initializers).
"""
