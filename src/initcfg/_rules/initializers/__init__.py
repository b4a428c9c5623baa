"""Initializers: from arguments and a tensor's layout to a value.

In: the arguments of a rule, and the layout of a tensor.
Out: a value of `initcfg.values`; for Pretrained, arguments that the planner carries out.

Read: `base.py` (the base class and the registry), then `arguments.py` (checks that several share),
`distributions.py` (Constant, Uniform, Normal, TruncNormal), `fans.py` (Xavier, Kaiming, VarianceScaling,
LeCun), `matrices.py` (Orthogonal, Sparse, Dirac, Identity), `torch_defaults.py` (what torch does by itself),
`kernels.py`, `glorot.py`, `coordinates.py`, `recurrent.py`, `rwkv.py`, `splines.py` and `layers.py` (what
papers name, tensor by tensor) with `formula_steps.py` (formulas in the making), `literal.py` (a value as it
is written), `from_batch.py` (what a batch of data decides), `own_functions.py` (functions of one's own),
`own_method.py` (a module's own `init_weights`),
`adapt.py` and `pretrained.py` (checkpoints), `derivation.py` and `derived/` (weights made of another
model's), `module_functions.py` (the original's functions, such as `kaiming_init`).

To add one, derive a class from `BaseInit`, give it a method `value`, and register it.
"""

from initcfg._rules.initializers.adapt import NEED_NAMES, Permission
from initcfg._rules.initializers.arguments import (
    finite,
    number,
    one_of,
    positive,
    standard_deviation,
    whole_number,
)
from initcfg._rules.initializers.base import INITIALIZERS, WEIGHT_INITIALIZERS, BaseInit, bias_init_with_prob
from initcfg._rules.initializers.derivation import Derivation
from initcfg._rules.initializers.distributions import ConstantInit, NormalInit, TruncNormalInit, UniformInit
from initcfg._rules.initializers.fans import (
    Caffe2XavierInit,
    KaimingInit,
    LeCunInit,
    VarianceScalingInit,
    XavierInit,
)
from initcfg._rules.initializers.formula_steps import Steps, view
from initcfg._rules.initializers.from_batch import (
    ActNormDataInit,
    BatchInit,
    LSUVInit,
    WeightNormDataInit,
    batch_text,
)
from initcfg._rules.initializers.literal import ValueInit
from initcfg._rules.initializers.matrices import DiracInit, IdentityInit, OrthogonalInit, SparseInit
from initcfg._rules.initializers.module_functions import (
    caffe2_xavier_init,
    constant_init,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    xavier_init,
)
from initcfg._rules.initializers.own_functions import (
    FunctionInit,
    OnModules,
    check_arguments,
    function_kind,
    function_label,
    is_function,
    take_result,
)
from initcfg._rules.initializers.own_method import InitWeightsInit
from initcfg._rules.initializers.pretrained import PretrainedInit
from initcfg._rules.initializers.torch_defaults import TorchDefaultInit, torch_default

# What papers name is reached by its registered name, and by no other.
from initcfg._rules.initializers import derived  # noqa: F401  # isort: skip
from initcfg._rules.initializers import coordinates, glorot, kernels  # noqa: F401  # isort: skip
from initcfg._rules.initializers import layers, recurrent, rwkv, splines  # noqa: F401  # isort: skip

OURS = frozenset(INITIALIZERS.module_dict.values())
"""The package's own classes: what else is registered later is a user's."""

__all__ = [
    "INITIALIZERS",
    "NEED_NAMES",
    "OURS",
    "WEIGHT_INITIALIZERS",
    "ActNormDataInit",
    "BaseInit",
    "BatchInit",
    "Caffe2XavierInit",
    "ConstantInit",
    "Derivation",
    "DiracInit",
    "FunctionInit",
    "IdentityInit",
    "InitWeightsInit",
    "KaimingInit",
    "LSUVInit",
    "LeCunInit",
    "NormalInit",
    "OnModules",
    "OrthogonalInit",
    "Permission",
    "PretrainedInit",
    "SparseInit",
    "Steps",
    "TorchDefaultInit",
    "TruncNormalInit",
    "UniformInit",
    "ValueInit",
    "VarianceScalingInit",
    "WeightNormDataInit",
    "XavierInit",
    "batch_text",
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "constant_init",
    "check_arguments",
    "finite",
    "function_kind",
    "function_label",
    "is_function",
    "kaiming_init",
    "normal_init",
    "number",
    "one_of",
    "positive",
    "standard_deviation",
    "take_result",
    "torch_default",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "view",
    "whole_number",
    "xavier_init",
]
