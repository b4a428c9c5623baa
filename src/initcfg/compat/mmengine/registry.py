"""``mmengine.registry``: registries, and building from configs; other registries are MMEngine's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import initcfg
from initcfg import WEIGHT_INITIALIZERS
from initcfg.compat.beside_mmengine import shared_models, their_registry
from initcfg.compat.elsewhere import HOME, name_elsewhere
from initcfg.compat.mmengine.model import Sequential

if TYPE_CHECKING:
    from initcfg import MODELS

__path__: list[str] = []


class Registry(initcfg.Registry):
    """:class:`initcfg.Registry`, also as a child of MMEngine's.

    Where the parent is one of MMEngine's registries (``HOOKS``), so is this. Where it is :data:`MODELS`, what
    is registered here is registered in a child of MMEngine's ``MODELS``, too, where its Runner looks.
    """

    def __new__(
        cls,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Any = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> Any:
        """One of MMEngine's registries, where the parent is."""
        theirs = their_registry()
        if theirs is None or not isinstance(parent, theirs):
            return super().__new__(cls)
        # It would take this package for the one that creates it.
        scope = _package_of_caller() if scope is None else scope
        return theirs(name, build_func, parent, scope, list(locations))

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Any = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> None:
        scope = _package_of_caller() if scope is None else scope
        super().__init__(name, build_func, parent, scope, locations)
        theirs = their_registry()
        if theirs is None or parent is not initcfg.MODELS:
            return
        root = name_elsewhere("registry", "MODELS")
        if scope in root.children:
            # The package is there under its own name as well.
            return
        twin = theirs(name, parent=root, scope=scope, locations=list(locations))

        def register_there(module: Any, names: Sequence[str], force: bool) -> None:
            twin.register_module(name=list(names), force=force, module=module)

        self.also_register(register_there)


def build_from_cfg(cfg: Any, registry: Any, default_args: Any = None) -> Any:
    """:func:`initcfg.build_from_cfg`; of one of MMEngine's registries, MMEngine's own."""
    build: Any = initcfg.build_from_cfg
    if _is_theirs(registry):
        build = name_elsewhere("registry", "build_from_cfg")
    return build(cfg, registry, default_args)


def build_model_from_cfg(cfg: Any, registry: Any, default_args: Any = None) -> Any:
    """:func:`build_from_cfg`, but of a list of configs, a :class:`Sequential` of what they build."""
    if isinstance(cfg, list):
        return Sequential(*(build_from_cfg(each, registry, default_args) for each in cfg))
    return build_from_cfg(cfg, registry, default_args)


def _is_theirs(registry: Any) -> bool:
    theirs = their_registry()
    return theirs is not None and isinstance(registry, theirs)


def _package_of_caller() -> str:
    """The top-level package of the code that creates a registry: two calls up."""
    name = sys._getframe(2).f_globals.get("__name__") or "initcfg"
    return name.partition(".")[0]


def __getattr__(name: str) -> Any:
    if name == "MODELS":
        return shared_models()
    return name_elsewhere("registry", name)


__all__ = ["MODELS", "WEIGHT_INITIALIZERS", "Registry", "build_from_cfg", "build_model_from_cfg"]

for _each in (Registry, build_from_cfg, build_model_from_cfg):
    _each.__module__ = HOME
