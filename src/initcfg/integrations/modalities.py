"""Modalities: rules as a component of its YAML configs, in the place of its weight initialization.

    modalities_main.add_custom_component("model_initialization", "initcfg", InitCfg, InitCfgConfig)

and in the config, where the model is initialized, ``component_key: model_initialization`` and
``variant_key: initcfg``.
"""

from __future__ import annotations

from typing import Any

from initcfg._api import init_weights
from initcfg.errors import BuildImportError

try:
    from modalities.nn.model_initialization.initialization_if import (  # pyright: ignore[reportMissingImports]
        ModelInitializationIF,
    )
    from pydantic import BaseModel  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise BuildImportError(
        "initcfg.integrations.modalities needs Modalities, which is not installed.",
        fix="Install it with: pip install modalities.",
    ) from error


class InitCfgConfig(BaseModel):
    """What the config says of it.

    Args:
        rules: Rules, as in ``initcfg.plan(model, rules)``.
        seed: See ``Plan.apply``.
    """

    rules: list[dict[str, Any]]
    seed: int = 0


class InitCfg(ModelInitializationIF):
    """Initializes the model that it is given, sharded or not, by rules.

    Args:
        rules: Rules, as in ``initcfg.plan(model, rules)``.
        seed: See ``Plan.apply``.
    """

    def __init__(self, rules: list[dict[str, Any]], seed: int = 0) -> None:
        self.rules = rules
        self.seed = seed

    def initialize_in_place(self, model: Any) -> None:
        """Called by Modalities, once the model has memory."""
        init_weights(model, self.rules, seed=self.seed)
