"""initcfg: say in config how every weight of a PyTorch model starts, and see it before it happens.

Nothing heavy is imported until it is used: ``import initcfg`` does not load torch. A name is imported from
the front door of its station when it is first asked for; ``__init__.pyi`` says the same to type checkers,
and is made from the table below by ``tools/stubs.py``.
"""

from __future__ import annotations

import gc
import importlib
import random
import typing
from types import FunctionType
from typing import Any

from initcfg import errors
from initcfg._version import __version__

EXPORTS = {
    "_api": (
        "Lock",
        "LockCheck",
        "build",
        "check",
        "diagnose",
        "diff",
        "init_weights",
        "initialize",
        "inspect",
        "lock",
        "materialize",
        "param_groups",
        "plan",
        "verify",
    ),
    "_api.weights": ("Inspection", "TensorChange", "WeightsComparison"),
    "_record": ("deferred", "trace"),
    "_plan": ("Assignment", "Ledger", "Plan"),
    "_apply": ("Verification", "Verified"),
    "_plan.compare": ("Comparison", "Difference", "compare", "differences"),
    "_diagnose": ("Diagnosis", "DiagnosisComparison", "Finding"),
    "_rules": ("register_library",),
    "_rules.initializers": (
        "ActNormDataInit",
        "BaseInit",
        "Caffe2XavierInit",
        "ConstantInit",
        "DiracInit",
        "INITIALIZERS",
        "IdentityInit",
        "InitWeightsInit",
        "KaimingInit",
        "LSUVInit",
        "LeCunInit",
        "NormalInit",
        "OrthogonalInit",
        "PretrainedInit",
        "SparseInit",
        "TorchDefaultInit",
        "TruncNormalInit",
        "UniformInit",
        "ValueInit",
        "VarianceScalingInit",
        "WEIGHT_INITIALIZERS",
        "WeightNormDataInit",
        "XavierInit",
        "bias_init_with_prob",
        "caffe2_xavier_init",
        "constant_init",
        "kaiming_init",
        "normal_init",
        "trunc_normal_",
        "trunc_normal_init",
        "uniform_init",
        "xavier_init",
    ),
    "_rules.schemes": ("Scheme",),
    "_config": ("MODELS", "Registry", "build_from_cfg", "build_model_from_cfg"),
    "_config.files": ("Config", "ConfigDict", "DictAction"),
    "_model": ("BaseModule", "ModuleDict", "ModuleList", "Sequential", "register_layout"),
}
"""What the package exports, by the front door that has it. Errors and version come on top."""

_PUBLIC_MODULES = ("compat", "integrations", "sources", "stream", "testing", "values")
# What is of use without a model, and costs no import of torch.
_LIGHT = {"Config", "ConfigDict", "DictAction", "Registry", "build_from_cfg", "build_model_from_cfg"}
# What most programs never ask for: it comes alone, when it is.
_LATE = {
    *("Lock", "LockCheck", "check", "diagnose", "diff", "inspect", "lock", "verify"),
    *(name for home in ("_api.weights", "_diagnose", "_plan.compare") for name in EXPORTS[home]),
}
_HOME = {name: home for home, names in EXPORTS.items() for name in names}

__all__ = ["__version__", "errors", *sorted(_HOME)]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"initcfg.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'initcfg' has no attribute {name!r}")
    # Lower stations call upper ones by the one door (_model/doors.py), where those register when imported.
    # Libraries that are loaded on the way may draw (rich does, from Python's generator, for its ids).
    before = random.getstate()
    # What is loaded stays: looking for garbage in it, and in all that torch has, takes half as long again.
    collects = gc.isenabled()
    gc.disable()
    try:
        for home in (_HOME[name],) if name in _LIGHT else EXPORTS:
            _take(home, name)
    finally:
        if collects:
            gc.enable()
        random.setstate(before)
    return globals()[name]


def _take(home: str, asked: str) -> None:
    """Take the names that a front door exports; each says that it is of this package."""
    names = [name for name in EXPORTS[home] if name == asked or name not in _LATE]
    if not names:
        return
    door = importlib.import_module(f"initcfg.{home}")
    for name in names:
        value = globals()[name] = getattr(door, name)
        if isinstance(value, type) and value.__module__ != "initcfg":
            _resolve_annotations(value)
        if isinstance(value, (type, FunctionType)):
            value.__module__ = "initcfg"


def _resolve_annotations(cls: type) -> None:
    """Make types of the texts in a class's annotations: later they would be looked for in this module."""
    own = vars(cls).get("__annotations__", {})
    try:
        hints = typing.get_type_hints(cls, include_extras=True) if own else {}
    except NameError:
        # Names that only type checkers import: these stay texts.
        return
    own.update((name, hints[name]) for name in own)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PUBLIC_MODULES})
