"""Integrations: what other people's training loops do with this package.

In: a Runner of MMEngine, a Trainer of Lightning, a model and a Trainer of transformers, or a config of
torchtitan or Modalities.
Out: its model with initial weights, plan and ledger beside its other files, and a diagnosis of it.

Read: `initialization.py` (what those that initialize share), `at_start.py` (what those that diagnose share),
then `lightning/`, `transformers/`, `mmengine/`, `torchtitan.py` and `modalities.py`.

Each is imported when it is asked for, and needs its library.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("lightning", "mmengine", "modalities", "torchtitan", "transformers"):
        return importlib.import_module(f"initcfg.integrations.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
