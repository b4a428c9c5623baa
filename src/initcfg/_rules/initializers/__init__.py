"""initcfg._rules.initializers"""

from initcfg._rules.initializers.adapt import NEED_NAMES, Permission, covers
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
from initcfg._rules.initializers.registry import INITIALIZERS, WEIGHT_INITIALIZERS
from initcfg._rules.initializers.torch_default import TorchDefaultInit, torch_default
from initcfg._rules.initializers.value import ValueInit

__all__ = [
    "BaseInit",
    "Caffe2XavierInit",
    "ConstantInit",
    "DiracInit",
    "INITIALIZERS",
    "IdentityInit",
    "LeCunInit",
    "OrthogonalInit",
    "SparseInit",
    "TorchDefaultInit",
    "ValueInit",
    "VarianceScalingInit",
    "KaimingInit",
    "NEED_NAMES",
    "NormalInit",
    "Permission",
    "PretrainedInit",
    "TruncNormalInit",
    "UniformInit",
    "WEIGHT_INITIALIZERS",
    "XavierInit",
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "constant_init",
    "covers",
    "kaiming_init",
    "normal_init",
    "torch_default",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "xavier_init",
]
