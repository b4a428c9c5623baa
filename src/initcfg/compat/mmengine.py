"""What ``mmengine.model`` exports for initialization, under the same names and signatures.

``from mmengine.model import BaseModule, kaiming_init`` becomes
``from initcfg.compat.mmengine import BaseModule, kaiming_init``, and nothing else changes: the
classes here reach what MMEngine reaches and draw what it draws, bit for bit. Where MMEngine is installed
too, its ``Runner`` takes the ``Config``, the ``MODELS`` and the ``BaseModel`` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn

import initcfg
from initcfg import (
    WEIGHT_INITIALIZERS,
    BaseInit,
    Caffe2XavierInit,
    ConfigDict,
    ConstantInit,
    DictAction,
    KaimingInit,
    NormalInit,
    PretrainedInit,
    Registry,
    TruncNormalInit,
    UniformInit,
    XavierInit,
    bias_init_with_prob,
    build_from_cfg,
    caffe2_xavier_init,
    constant_init,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)

if TYPE_CHECKING:
    from initcfg import MODELS, Config

    BaseModel: Any


class BaseModule(initcfg.BaseModule):
    """MMEngine's ``BaseModule``: its reach, and its draws from torch's global generator."""

    _initcfg_compat: ClassVar[str | None] = "mmengine"
    _initcfg_rng: ClassVar[Literal["stream", "torch"]] = "torch"


class Sequential(BaseModule, initcfg.Sequential):
    """MMEngine's ``Sequential``."""


class ModuleList(BaseModule, initcfg.ModuleList):
    """MMEngine's ``ModuleList``."""


class ModuleDict(BaseModule, initcfg.ModuleDict):
    """MMEngine's ``ModuleDict``."""


def build_model_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """:func:`build_from_cfg`, but of a list of configs, a :class:`Sequential` of what they build."""
    if isinstance(cfg, list):
        return Sequential(*(build_from_cfg(each, registry, default_args) for each in cfg))
    return build_from_cfg(cfg, registry, default_args)


def initialize(module: nn.Module, init_cfg: Mapping[str, Any] | list[Any]) -> None:
    """MMEngine's ``initialize``: these rules on this module, drawn from torch's global generator."""
    initcfg.initialize(module, init_cfg, compat="mmengine", rng="torch")


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Accepted and ignored: the ledger records every write exactly, without being told."""


def __getattr__(name: str) -> Any:
    # Asked for late: only a program that names them needs to load MMEngine, where it is installed.
    from initcfg.compat import beside_mmengine

    if name == "Config":
        return beside_mmengine.config_class()
    if name == "MODELS":
        return beside_mmengine.shared_models()
    if name == "BaseModel":
        return beside_mmengine.base_model(BaseModule)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "MODELS",
    "WEIGHT_INITIALIZERS",
    "BaseInit",
    "BaseModule",
    "Caffe2XavierInit",
    "Config",
    "ConfigDict",
    "ConstantInit",
    "DictAction",
    "KaimingInit",
    "ModuleDict",
    "ModuleList",
    "NormalInit",
    "PretrainedInit",
    "Registry",
    "Sequential",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
    "bias_init_with_prob",
    "build_from_cfg",
    "build_model_from_cfg",
    "caffe2_xavier_init",
    "constant_init",
    "initialize",
    "kaiming_init",
    "normal_init",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "update_init_info",
    "xavier_init",
]
