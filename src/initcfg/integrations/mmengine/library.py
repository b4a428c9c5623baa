"""MMEngine's Runner and hooks, or what to install."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from initcfg.errors import BuildImportError

try:
    with warnings.catch_warnings():
        # torch tells MMEngine 0.10 that what it uses is old.
        warnings.simplefilter("ignore")
        runner: Any = importlib.import_module("mmengine.runner")
        hooks: Any = importlib.import_module("mmengine.hooks")
        is_model_wrapper: Any = importlib.import_module("mmengine.model").is_model_wrapper
        dist: Any = importlib.import_module("mmengine.dist")
    # Strategies, and the Runner that works by them, are of MMEngine 0.9 and later.
    has_strategies = hasattr(runner, "FlexibleRunner")
    strategies: Any = importlib.import_module("mmengine._strategy") if has_strategies else None
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "mmengine":
        raise
    raise BuildImportError(
        "initcfg.integrations.mmengine needs MMEngine, which is not installed.",
        fix="Install it with: pip install 'initcfg[mm]'.",
    ) from error
