"""initcfg: say in config how every weight of a PyTorch model starts, and see it before it happens.

Nothing heavy is imported until it is used: ``import initcfg`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from initcfg import errors
from initcfg._version import __version__

if TYPE_CHECKING:
    from initcfg._api import build, init_weights, initialize, plan
    from initcfg._assignment import Assignment
    from initcfg._compare import Difference, differences
    from initcfg._config import Config, ConfigDict
    from initcfg._deferral.context import deferred
    from initcfg._functions import (
        caffe2_xavier_init,
        constant_init,
        kaiming_init,
        normal_init,
        trunc_normal_,
        trunc_normal_init,
        uniform_init,
        xavier_init,
    )
    from initcfg._initializers import (
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
    from initcfg._initializers_literal import ValueInit
    from initcfg._initializers_more import (
        DiracInit,
        IdentityInit,
        LeCunInit,
        OrthogonalInit,
        SparseInit,
        VarianceScalingInit,
    )
    from initcfg._ledger import Ledger
    from initcfg._materialize import materialize
    from initcfg._modules import BaseModule, ModuleDict, ModuleList, Sequential
    from initcfg._plan import Plan
    from initcfg._pretrained.initializer import PretrainedInit
    from initcfg._registry import (
        INITIALIZERS,
        MODELS,
        WEIGHT_INITIALIZERS,
        Registry,
        build_from_cfg,
    )
    from initcfg._torch_defaults import TorchDefaultInit
    from initcfg._tracing.trace import trace

_HOME = {
    "_api": ("build", "init_weights", "initialize", "plan"),
    "_compare": ("Difference", "differences"),
    "_config": ("Config", "ConfigDict"),
    "_functions": (
        "caffe2_xavier_init",
        "constant_init",
        "kaiming_init",
        "normal_init",
        "trunc_normal_",
        "trunc_normal_init",
        "uniform_init",
        "xavier_init",
    ),
    "_deferral.context": ("deferred",),
    "_initializers": (
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
    "_initializers_literal": ("ValueInit",),
    "_pretrained.initializer": ("PretrainedInit",),
    "_initializers_more": (
        "DiracInit",
        "IdentityInit",
        "LeCunInit",
        "OrthogonalInit",
        "SparseInit",
        "VarianceScalingInit",
    ),
    "_ledger": ("Ledger",),
    "_materialize": ("materialize",),
    "_modules": ("BaseModule", "ModuleDict", "ModuleList", "Sequential"),
    "_assignment": ("Assignment",),
    "_plan": ("Plan",),
    "_torch_defaults": ("TorchDefaultInit",),
    "_registry": ("INITIALIZERS", "MODELS", "WEIGHT_INITIALIZERS", "Registry", "build_from_cfg"),
    "_tracing.trace": ("trace",),
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
