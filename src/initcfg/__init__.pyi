# Made by tools/stubs.py from EXPORTS in __init__.py.
from initcfg import compat as compat
from initcfg import errors as errors
from initcfg import integrations as integrations
from initcfg import sources as sources
from initcfg import stream as stream
from initcfg import values as values
from initcfg._api import Lock as Lock
from initcfg._api import LockCheck as LockCheck
from initcfg._api import build as build
from initcfg._api import check as check
from initcfg._api import diagnose as diagnose
from initcfg._api import diff as diff
from initcfg._api import init_weights as init_weights
from initcfg._api import initialize as initialize
from initcfg._api import inspect as inspect
from initcfg._api import lock as lock
from initcfg._api import materialize as materialize
from initcfg._api import param_groups as param_groups
from initcfg._api import plan as plan
from initcfg._api import verify as verify
from initcfg._api.weights import Inspection as Inspection
from initcfg._api.weights import TensorChange as TensorChange
from initcfg._api.weights import WeightsComparison as WeightsComparison
from initcfg._apply import Verification as Verification
from initcfg._apply import Verified as Verified
from initcfg._config import MODELS as MODELS
from initcfg._config import Registry as Registry
from initcfg._config import build_from_cfg as build_from_cfg
from initcfg._config import build_model_from_cfg as build_model_from_cfg
from initcfg._config.files import Config as Config
from initcfg._config.files import ConfigDict as ConfigDict
from initcfg._config.files import DictAction as DictAction
from initcfg._diagnose import Diagnosis as Diagnosis
from initcfg._diagnose import DiagnosisComparison as DiagnosisComparison
from initcfg._diagnose import Finding as Finding
from initcfg._model import BaseModule as BaseModule
from initcfg._model import ModuleDict as ModuleDict
from initcfg._model import ModuleList as ModuleList
from initcfg._model import Sequential as Sequential
from initcfg._model import register_layout as register_layout
from initcfg._plan import Assignment as Assignment
from initcfg._plan import Ledger as Ledger
from initcfg._plan import Plan as Plan
from initcfg._plan.compare import Comparison as Comparison
from initcfg._plan.compare import Difference as Difference
from initcfg._plan.compare import compare as compare
from initcfg._plan.compare import differences as differences
from initcfg._record import deferred as deferred
from initcfg._record import trace as trace
from initcfg._rules import register_library as register_library
from initcfg._rules.initializers import ActNormDataInit as ActNormDataInit
from initcfg._rules.initializers import BaseInit as BaseInit
from initcfg._rules.initializers import Caffe2XavierInit as Caffe2XavierInit
from initcfg._rules.initializers import ConstantInit as ConstantInit
from initcfg._rules.initializers import DiracInit as DiracInit
from initcfg._rules.initializers import INITIALIZERS as INITIALIZERS
from initcfg._rules.initializers import IdentityInit as IdentityInit
from initcfg._rules.initializers import InitWeightsInit as InitWeightsInit
from initcfg._rules.initializers import KaimingInit as KaimingInit
from initcfg._rules.initializers import LSUVInit as LSUVInit
from initcfg._rules.initializers import LeCunInit as LeCunInit
from initcfg._rules.initializers import NormalInit as NormalInit
from initcfg._rules.initializers import OrthogonalInit as OrthogonalInit
from initcfg._rules.initializers import PretrainedInit as PretrainedInit
from initcfg._rules.initializers import SparseInit as SparseInit
from initcfg._rules.initializers import TorchDefaultInit as TorchDefaultInit
from initcfg._rules.initializers import TruncNormalInit as TruncNormalInit
from initcfg._rules.initializers import UniformInit as UniformInit
from initcfg._rules.initializers import ValueInit as ValueInit
from initcfg._rules.initializers import VarianceScalingInit as VarianceScalingInit
from initcfg._rules.initializers import WEIGHT_INITIALIZERS as WEIGHT_INITIALIZERS
from initcfg._rules.initializers import WeightNormDataInit as WeightNormDataInit
from initcfg._rules.initializers import XavierInit as XavierInit
from initcfg._rules.initializers import bias_init_with_prob as bias_init_with_prob
from initcfg._rules.initializers import caffe2_xavier_init as caffe2_xavier_init
from initcfg._rules.initializers import constant_init as constant_init
from initcfg._rules.initializers import kaiming_init as kaiming_init
from initcfg._rules.initializers import normal_init as normal_init
from initcfg._rules.initializers import trunc_normal_ as trunc_normal_
from initcfg._rules.initializers import trunc_normal_init as trunc_normal_init
from initcfg._rules.initializers import uniform_init as uniform_init
from initcfg._rules.initializers import xavier_init as xavier_init
from initcfg._rules.schemes import Scheme as Scheme
from initcfg._version import __version__ as __version__

EXPORTS: dict[str, tuple[str, ...]]
__all__ = [
    "ActNormDataInit",
    "Assignment",
    "BaseInit",
    "BaseModule",
    "Caffe2XavierInit",
    "Comparison",
    "Config",
    "ConfigDict",
    "ConstantInit",
    "Diagnosis",
    "DiagnosisComparison",
    "DictAction",
    "Difference",
    "DiracInit",
    "Finding",
    "INITIALIZERS",
    "IdentityInit",
    "InitWeightsInit",
    "Inspection",
    "KaimingInit",
    "LSUVInit",
    "LeCunInit",
    "Ledger",
    "Lock",
    "LockCheck",
    "MODELS",
    "ModuleDict",
    "ModuleList",
    "NormalInit",
    "OrthogonalInit",
    "Plan",
    "PretrainedInit",
    "Registry",
    "Scheme",
    "Sequential",
    "SparseInit",
    "TensorChange",
    "TorchDefaultInit",
    "TruncNormalInit",
    "UniformInit",
    "ValueInit",
    "VarianceScalingInit",
    "Verification",
    "Verified",
    "WEIGHT_INITIALIZERS",
    "WeightNormDataInit",
    "WeightsComparison",
    "XavierInit",
    "__version__",
    "bias_init_with_prob",
    "build",
    "build_from_cfg",
    "build_model_from_cfg",
    "caffe2_xavier_init",
    "check",
    "compare",
    "constant_init",
    "deferred",
    "diagnose",
    "diff",
    "differences",
    "errors",
    "init_weights",
    "initialize",
    "inspect",
    "kaiming_init",
    "lock",
    "materialize",
    "normal_init",
    "param_groups",
    "plan",
    "register_layout",
    "register_library",
    "trace",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "verify",
    "xavier_init",
]
