"""Lightning under the name that its users import, ``lightning`` or ``pytorch_lightning``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from initcfg.errors import BuildImportError


def _library() -> Any:
    names = ["lightning.pytorch", "pytorch_lightning"]
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        names.reverse()
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise BuildImportError(
        "initcfg.integrations.lightning needs Lightning, which is not installed.",
        fix="Install it with: pip install 'initcfg[lightning]'.",
    )


Callback: Any = _library().Callback
"""The base of callbacks."""
