"""Integrations: what other people's training loops do with this package.

In: a loop of Lightning, or of transformers.
Out: callbacks for it.

Read: `at_start.py` (what the callbacks share), then `lightning.py` and `transformers.py` (one each).

Each is imported when it is asked for, and needs its library.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("lightning", "transformers"):
        return importlib.import_module(f"initcfg.integrations.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
