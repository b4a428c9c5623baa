"""initcfg: say in config how every weight of a PyTorch model starts, and see it before it happens.

Nothing heavy is imported until it is used: ``import initcfg`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from initcfg import errors
from initcfg._version import __version__

if TYPE_CHECKING:
    from initcfg._api.functions import build, init_weights, initialize, plan
    from initcfg._api.materialize import materialize
    from initcfg._config.files import Config, ConfigDict
    from initcfg._config.registry import (
        INITIALIZERS,
        MODELS,
        WEIGHT_INITIALIZERS,
        Registry,
        build_from_cfg,
    )
    from initcfg._model.base_module import BaseModule, ModuleDict, ModuleList, Sequential
    from initcfg._plan.assignment import Assignment
    from initcfg._plan.compare.with_mmengine import Difference, differences
    from initcfg._plan.ledger import Ledger
    from initcfg._plan.plan import Plan
    from initcfg._record.deferred import deferred
    from initcfg._record.trace import trace
    from initcfg._rules.initializers.functions import (
        caffe2_xavier_init,
        constant_init,
        kaiming_init,
        normal_init,
        trunc_normal_,
        trunc_normal_init,
        uniform_init,
        xavier_init,
    )
    from initcfg._rules.initializers.further import (
        DiracInit,
        IdentityInit,
        LeCunInit,
        OrthogonalInit,
        SparseInit,
        VarianceScalingInit,
    )
    from initcfg._rules.initializers.original import (
        BaseInit,
        Caffe2XavierInit,
        ConstantInit,
        KaimingInit,
        NormalInit,
        TruncNormalInit,
        UniformInit,
        XavierInit,
        bias_init_with_prob,
    )
    from initcfg._rules.initializers.pretrained import PretrainedInit
    from initcfg._rules.initializers.torch_default import TorchDefaultInit
    from initcfg._rules.initializers.value import ValueInit

_HOME = {
    "_api.functions": ("build", "init_weights", "initialize", "plan"),
    "_plan.compare.with_mmengine": ("Difference", "differences"),
    "_config.files": ("Config", "ConfigDict"),
    "_rules.initializers.functions": (
        "caffe2_xavier_init",
        "constant_init",
        "kaiming_init",
        "normal_init",
        "trunc_normal_",
        "trunc_normal_init",
        "uniform_init",
        "xavier_init",
    ),
    "_record.deferred": ("deferred",),
    "_rules.initializers.original": (
        "BaseInit",
        "Caffe2XavierInit",
        "ConstantInit",
        "KaimingInit",
        "NormalInit",
        "TruncNormalInit",
        "UniformInit",
        "XavierInit",
        "bias_init_with_prob",
    ),
    "_rules.initializers.value": ("ValueInit",),
    "_rules.initializers.pretrained": ("PretrainedInit",),
    "_rules.initializers.further": (
        "DiracInit",
        "IdentityInit",
        "LeCunInit",
        "OrthogonalInit",
        "SparseInit",
        "VarianceScalingInit",
    ),
    "_plan.ledger": ("Ledger",),
    "_api.materialize": ("materialize",),
    "_model.base_module": ("BaseModule", "ModuleDict", "ModuleList", "Sequential"),
    "_plan.assignment": ("Assignment",),
    "_plan.plan": ("Plan",),
    "_rules.initializers.torch_default": ("TorchDefaultInit",),
    "_config.registry": ("INITIALIZERS", "MODELS", "WEIGHT_INITIALIZERS", "Registry", "build_from_cfg"),
    "_record.trace": ("trace",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Assignment",
    "BaseInit",
    "BaseModule",
    "Caffe2XavierInit",
    "Config",
    "ConfigDict",
    "ConstantInit",
    "Difference",
    "DiracInit",
    "INITIALIZERS",
    "IdentityInit",
    "KaimingInit",
    "LeCunInit",
    "Ledger",
    "MODELS",
    "ModuleDict",
    "ModuleList",
    "NormalInit",
    "OrthogonalInit",
    "Plan",
    "PretrainedInit",
    "Registry",
    "Sequential",
    "SparseInit",
    "TorchDefaultInit",
    "TruncNormalInit",
    "UniformInit",
    "ValueInit",
    "VarianceScalingInit",
    "WEIGHT_INITIALIZERS",
    "XavierInit",
    "__version__",
    "bias_init_with_prob",
    "build",
    "build_from_cfg",
    "caffe2_xavier_init",
    "constant_init",
    "deferred",
    "differences",
    "errors",
    "init_weights",
    "initialize",
    "kaiming_init",
    "materialize",
    "normal_init",
    "plan",
    "trace",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "xavier_init",
]


def __getattr__(name: str) -> Any:
    home = _MODULE_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'initcfg' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"initcfg.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
