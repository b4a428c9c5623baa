"""transformers, or what to install."""

from __future__ import annotations

import importlib
from typing import Any

from initcfg.errors import BuildImportError

try:
    transformers: Any = importlib.import_module("transformers")
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise BuildImportError(
        "initcfg.integrations.transformers needs transformers, which is not installed.",
        fix="Install it with: pip install 'initcfg[hf]' accelerate.",
    ) from error

Callback: Any = transformers.TrainerCallback
"""The base of a Trainer's callbacks."""
