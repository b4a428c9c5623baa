"""MODELS: the registry of modules, whose ``type`` also leads to torch.nn, to builders, and to MMEngine's."""

from __future__ import annotations

import sys
from typing import Any

from initcfg._config.builders import builder, is_builder
from initcfg._config.import_paths import (
    from_mmengine,
    import_path,
    mmengine_names,
    torch_nn_class,
    torch_nn_names,
)
from initcfg._config.registry import Registry, build_from_cfg
from initcfg.errors import BuildError, as_annotated


class ModelRegistry(Registry):
    """A registry of modules, and the root of those that are its children."""

    variable = "MODELS"
    of_modules = True

    def resolve(self, name: str, registry: Registry, scope: str | None) -> Any:
        """See :meth:`Registry.resolve`; also classes of torch.nn, builders, models of a loaded MMEngine."""
        found, reason = registry._registered(name), ""
        if found is None and ":" in name and is_builder(name):
            return builder(name, build_model)
        if scope is not None and registry.scope != scope:
            # The scope is not one of ours: it can only be one of a loaded MMEngine.
            found = from_mmengine(name, scope) or found
        if found is None and "." in name:
            found, reason = import_path(name)
        elif found is None:
            found = torch_nn_class(name)
        if found is None:
            found = from_mmengine(name)
        if found is None:
            raise self.unknown(name, registry, scope, reason)
        return found

    def further_names(self, name: str) -> tuple[list[str], list[str]]:
        """See :meth:`Registry.further_names`."""
        torch_nn = torch_nn_names() if "." not in name else []
        places = ["torch.nn"] if torch_nn else []
        places += ["the registries of mmengine"] if "mmengine.registry" in sys.modules else []
        return places, [*torch_nn, *mmengine_names()]


@as_annotated(BuildError)
def build_model_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """:func:`build_from_cfg`, but of a list of configs, a ``Sequential`` of what they build."""
    if isinstance(cfg, list):
        from initcfg._model import Sequential

        return Sequential(*(build_from_cfg(each, registry, default_args) for each in cfg))
    return build_from_cfg(cfg, registry, default_args)


MODELS = ModelRegistry("model", build_func=build_model_from_cfg, scope="initcfg")
"""Modules of models."""


def build_model(cfg: Any) -> Any:
    """The model of a config, by the names in :data:`MODELS`."""
    return build_from_cfg(cfg, MODELS)
