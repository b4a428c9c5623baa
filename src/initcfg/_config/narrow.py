"""Narrow builds: the base of a model, built beside it on the meta device, where it takes no memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from initcfg._config.builders import is_builder, is_object, object_of
from initcfg._config.files import ConfigDict, set_path
from initcfg._config.made_from import made_from
from initcfg._config.models import MODELS
from initcfg._config.permitted import makes_module
from initcfg._config.registry import build_from_cfg
from initcfg.errors import BuildError, InitcfgError

if TYPE_CHECKING:
    from torch import nn


def built_again(module: nn.Module, changes: Mapping[str, Any]) -> nn.Module:
    """What built the module, with these arguments changed, on meta.

    Raises:
        BuildError: No config or builder built it, or it cannot be built so.
    """
    known = made_from(module)
    if known is None:
        raise BuildError(
            "base=dict(...) changes arguments of the builder or config that built the model, and this "
            f"{type(module).__name__} was built by other code.",
            fix="Give the base itself, built within torch.device('meta'); or a builder: "
            "base='package.module:function', base_args=dict(...).",
        )
    cfg, registry = known
    return _on_meta(_changed(cfg, changes), registry)


def built_on_meta(text: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model of a builder's text, on meta.

    Raises:
        BuildError: It is none, or may not be called because a text names it.
    """
    if not is_builder(text):
        raise BuildError(
            f"{text!r} is no builder.",
            fix="Write timm:NAME, torchvision:NAME, hf:NAME or package.module:function.",
        )
    if is_object(text) and not makes_module(object_of(text)):
        raise BuildError(
            f"{text!r} is a function that may return anything.",
            fix="Annotate what it returns: -> nn.Module; or build the base within torch.device('meta').",
        )
    return _on_meta(_changed({"type": text}, arguments), MODELS)


def _changed(cfg: Mapping[str, Any], changes: Mapping[str, Any]) -> ConfigDict:
    """A config with other arguments: ``a.b`` is a key within ``a``, and a dict changes the dict there."""
    found = ConfigDict(cfg)
    for key, item in changes.items():
        _check_key(key, item)
        found = set_path(found, key, item)
    return found


def _check_key(key: Any, item: Any) -> None:
    """What is built is given: its base has other arguments, and calls nothing else."""
    if not isinstance(key, str) or key.rpartition(".")[2] in ("type", "init_cfg"):
        raise BuildError(f"base changes arguments, and {key!r} is none.", fix="Leave it out.")
    for inner in item.items() if isinstance(item, Mapping) else ():
        _check_key(*inner)
    for each in item if isinstance(item, (list, tuple)) else ():
        _check_key("", each)


def _on_meta(cfg: Mapping[str, Any], registry: Any) -> nn.Module:
    import torch
    from torch import nn

    with torch.device("meta"), warnings.catch_warnings():
        # torch warns of initializing what takes no memory.
        warnings.simplefilter("ignore")
        try:
            made = build_from_cfg(cfg, registry)
        except InitcfgError:
            raise
        except Exception as error:
            told = ", ".join(f"{key}={item!r}" for key, item in cfg.items() if key != "type")
            raise BuildError(
                f"The base cannot be built: {type(error).__name__}: {error}.",
                rule=f"arguments given: {told}",
                fix="Correct its arguments.",
            ) from error
    if not isinstance(made, nn.Module):
        raise BuildError(f"The base is a {type(made).__name__}, which is no torch.nn.Module.")
    return made
