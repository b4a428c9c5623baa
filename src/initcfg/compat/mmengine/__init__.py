"""MMEngine: ``from mmengine...`` becomes ``from initcfg.compat.mmengine...``, and nothing else changes.

In: code that imports from MMEngine, from the package or from its modules.
Out: what MMEngine has for initialization, from here: it reaches what MMEngine reaches, and draws what it
draws, bit for bit. All else is MMEngine's own, where it is installed; its ``Runner`` takes the ``Config``,
the ``MODELS`` and the ``BaseModel`` here.

Read: `model.py` (modules and initializers), `registry.py` (registries, and building), `config.py` (config
files), then `runner.py` (MMEngine's own).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from initcfg.compat import elsewhere
from initcfg.compat.mmengine import config, model, registry
from initcfg.compat.mmengine import runner as runner
from initcfg.compat.mmengine.config import ConfigDict, DictAction
from initcfg.compat.mmengine.model import (
    BaseInit,
    BaseModule,
    Caffe2XavierInit,
    ConstantInit,
    KaimingInit,
    ModuleDict,
    ModuleList,
    NormalInit,
    PretrainedInit,
    Sequential,
    TruncNormalInit,
    UniformInit,
    XavierInit,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    initialize,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    update_init_info,
    xavier_init,
)
from initcfg.compat.mmengine.registry import (
    WEIGHT_INITIALIZERS,
    Registry,
    build_from_cfg,
    build_model_from_cfg,
)

if TYPE_CHECKING:
    from initcfg import MODELS, Config

    BaseModel: Any

elsewhere.find_modules()


def __getattr__(name: str) -> Any:
    # Asked for late: only a program that names them needs to load MMEngine, where it is installed.
    for home, names in ((config, ("Config",)), (registry, ("MODELS",)), (model, ("BaseModel",))):
        if name in names:
            return getattr(home, name)
    return elsewhere.name_elsewhere("", name)


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
