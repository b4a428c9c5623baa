"""torchtitan: rules in a model's config, as a converter.

    model_registry("8B", converters=[InitConverter.Config(rules=[...], seed=0)])

The trainer builds the model on the meta device, shards it, gives it memory and calls ``init_weights``: there
each rank writes the shards that it holds, and the model is the same on any number of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from initcfg._api import init_weights
from initcfg.errors import BuildImportError

try:
    from torchtitan.protocols.model import ModelConfigConverter  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise BuildImportError(
        "initcfg.integrations.torchtitan needs torchtitan, which is not installed.",
        fix="Install it with: pip install torchtitan.",
    ) from error


class InitConverter(ModelConfigConverter):
    """Gives the model of a config its initial weights by rules, instead of its ``param_init``.

    What no rule reaches, and buffers, are as torchtitan makes them. Put it last among the converters.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(ModelConfigConverter.Config):
        """What starts a model.

        Args:
            rules: Rules, as in ``initcfg.plan(model, rules)``.
            seed: See ``Plan.apply``.
        """

        rules: list[dict[str, Any]] = field(default_factory=list)
        seed: int = 0

    def __init__(self, config: Config, **kwargs: Any) -> None:
        self.config = config

    def convert(self, model_config: Any) -> Any:
        """The same config, whose model is initialized by the rules."""
        kind, rules, seed = type(model_config), self.config.rules, self.config.seed

        def build(config: Any, **kwargs: Any) -> Any:
            model = kind.build(config, **kwargs)
            # A class, since a pipeline copies models: a bound method would initialize the first of them.
            model.__class__ = _started(type(model), rules, seed)
            return model

        made = type(kind.__name__, (kind,), {"__slots__": (), "__module__": kind.__module__, "build": build})
        return made(
            **{each.name: getattr(model_config, each.name) for each in fields(model_config) if each.init}
        )


def _started(kind: Any, rules: list[dict[str, Any]], seed: int) -> type:
    def init_states(model: Any, *, buffer_device: Any = None) -> None:
        kind.init_states(model, buffer_device=buffer_device)
        init_weights(model, rules, seed=seed)

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "init_states": init_states})
