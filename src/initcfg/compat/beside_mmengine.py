"""Where MMEngine is installed: a config, a registry and a base of models that its ``Runner`` takes.

A Runner asks ``isinstance(cfg, mmengine.Config)``, and looks models up in ``mmengine.registry.MODELS``. So
the config here is a class of both packages, and what is registered in :data:`initcfg.MODELS` is registered
there too. Where MMEngine is not installed, all is as without it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import initcfg
from initcfg.errors import DuplicateNameError


def _mmengine(module: str) -> ModuleType | None:
    if importlib.util.find_spec("mmengine") is None:
        return None
    try:
        return importlib.import_module(f"mmengine.{module}")
    except Exception:
        # One that cannot be imported has no Runner either, and moving off it must not need it.
        return None


@functools.cache
def config_class() -> type[initcfg.Config]:
    """``initcfg.Config``, made an ``mmengine.Config`` too where there is one."""
    theirs = _mmengine("config")
    if theirs is None:
        return initcfg.Config

    class Config(initcfg.Config, theirs.Config):
        __doc__ = initcfg.Config.__doc__

        # What MMEngine's own code reads of its configs by private names.
        @property
        def _text(self) -> str:
            return self.text

        @property
        def _env_variables(self) -> dict[str, str]:
            return self.env_variables

        # MMEngine's would pickle fields that only its own configs have.
        def __getstate__(self) -> dict[str, Any]:
            return dict(vars(self))

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__dict__.update(state)

    return _at_home(Config)


def their_registry() -> Any:
    """The class of MMEngine's registries; None where it is not installed."""
    theirs = _mmengine("registry")
    return None if theirs is None else theirs.Registry


@functools.cache
def shared_models() -> initcfg.Registry:
    """:data:`initcfg.MODELS`; what is registered there, now and later, is in MMEngine's ``MODELS`` too.

    Raises:
        DuplicateNameError: MMEngine's has the name already, for something else.
    """
    theirs = _mmengine("registry")
    if theirs is not None:

        def register_there(module: Any, names: Sequence[str], force: bool) -> None:
            new = [name for name in names if theirs.MODELS.module_dict.get(name) is not module]
            taken = [name for name in new if name in theirs.MODELS.module_dict]
            if taken and not force:
                raise DuplicateNameError(
                    f"{taken[0]!r} is registered already in MMEngine's MODELS.",
                    fix="Choose another name, or replace it with force=True.",
                )
            if new:
                theirs.MODELS.register_module(name=new, force=force, module=module)

        initcfg.MODELS.also_register(register_there)
    return initcfg.MODELS


@functools.cache
def base_model(base: type[Any]) -> type[Any]:
    """MMEngine's ``BaseModel`` (training steps, a data preprocessor), initialized by initcfg.

    Args:
        base: The ``BaseModule`` that initializes it.

    Raises:
        ImportError: MMEngine is not installed: it is a part of training, which initcfg has no part in.
    """
    theirs = _mmengine("model")
    if theirs is None:
        raise ImportError(
            "BaseModel is MMEngine's, for its Runner, and MMEngine cannot be imported.\n"
            "  fix:          pip install mmengine, or derive from initcfg.compat.mmengine.BaseModule."
        )

    class BaseModel(base, theirs.BaseModel):
        """``mmengine.model.BaseModel``, whose ``init_weights()`` is initcfg's under ``compat='mmengine'``.

        Args:
            data_preprocessor: A module, or the config of one in MMEngine's registry.
            init_cfg: See :class:`initcfg.BaseModule`.
        """

        def __init__(self, data_preprocessor: Any = None, init_cfg: Any = None) -> None:
            theirs.BaseModel.__init__(self, data_preprocessor, init_cfg)

    return _at_home(BaseModel)


def _at_home(made: type[Any]) -> type[Any]:
    # Pickles and messages lead to where people import it from.
    made.__module__, made.__qualname__ = "initcfg.compat.mmengine", made.__name__
    return made
