"""``mmengine.model``: the modules with an ``init_cfg``, and the initializers; the rest is MMEngine's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import nn

import initcfg
from initcfg import (
    BaseInit,
    Caffe2XavierInit,
    ConstantInit,
    KaimingInit,
    NormalInit,
    PretrainedInit,
    TruncNormalInit,
    UniformInit,
    XavierInit,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)
from initcfg.compat.beside_mmengine import base_model
from initcfg.compat.elsewhere import HOME, name_elsewhere

if TYPE_CHECKING:
    BaseModel: Any

# Modules below it are looked for by the finder.
__path__: list[str] = []


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


def initialize(module: nn.Module, init_cfg: Mapping[str, Any] | list[Any]) -> None:
    """MMEngine's ``initialize``: these rules on this module, drawn from torch's global generator."""
    initcfg.initialize(module, init_cfg, compat="mmengine", rng="torch")


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Accepted and ignored: the ledger records every write exactly, without being told."""


def __getattr__(name: str) -> Any:
    # Asked for late: only a program that names it needs to load MMEngine, where it is installed.
    if name == "BaseModel":
        return base_model(BaseModule)
    return name_elsewhere("model", name)


__all__ = [
    "BaseInit",
    "BaseModule",
    "Caffe2XavierInit",
    "ConstantInit",
    "KaimingInit",
    "ModuleDict",
    "ModuleList",
    "NormalInit",
    "PretrainedInit",
    "Sequential",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
    "bias_init_with_prob",
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

# Pickles and messages lead to where people import it from.
for _each in (BaseModule, Sequential, ModuleList, ModuleDict, initialize, update_init_info):
    _each.__module__ = HOME
