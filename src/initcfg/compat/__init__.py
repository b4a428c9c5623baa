"""The original's names and behavior, for people who come from it.

In: code that imports from MMEngine, or from MMCV 1.x.
Out: the same names, from here; such code reaches and draws what the original does, bit for bit.

Read: `mmengine/` (a mirror of MMEngine) with `beside_mmengine.py` (what its Runner takes) and `elsewhere.py`
(what is MMEngine's own), then `mmcv/` (what MMCV 1.x exports).
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("mmcv", "mmengine"):
        return importlib.import_module(f"initcfg.compat.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
