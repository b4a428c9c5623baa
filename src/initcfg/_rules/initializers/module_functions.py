"""The module functions of the original: each fills one module's ``weight`` and ``bias`` at once.

They are for a user's own ``init_weights``. Draws come from torch's global generator, as there.
"""

from __future__ import annotations

import torch
from torch import nn

from initcfg._model import original_targets
from initcfg._rules.initializers.base import BaseInit
from initcfg._rules.initializers.distributions import ConstantInit, NormalInit, TruncNormalInit, UniformInit
from initcfg._rules.initializers.fans import Caffe2XavierInit, KaimingInit, XavierInit
from initcfg._stream.writing import READ_ONLY, fill_torch, read_only_among
from initcfg.errors import ArgumentValueError, InitcfgError, TensorError, as_annotated
from initcfg.values import TruncNormal, Value, own_fault


@as_annotated(TensorError)
def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Fill ``module.weight`` with ``val`` and ``module.bias`` with ``bias``.

    Raises:
        TensorError: ``module`` is a tensor: the original does nothing then, without a word.

    Example:
        >>> from initcfg import constant_init
        >>> from torch import nn
        >>> linear = nn.Linear(2, 1)
        >>> constant_init(linear, 3, bias=4)
        >>> linear.weight.tolist(), linear.bias.tolist()
        ([[3.0, 3.0]], [4.0])
    """
    _fill(module, ConstantInit(val), bias)


@as_annotated(TensorError)
def xavier_init(module: nn.Module, gain: float = 1, bias: float = 0, distribution: str = "normal") -> None:
    """Fill ``module.weight`` as :class:`XavierInit` says, and ``module.bias`` with ``bias``."""
    _fill(module, XavierInit(gain, distribution), bias)


@as_annotated(TensorError)
def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Fill ``module.weight`` from N(mean, std²), and ``module.bias`` with ``bias``."""
    _fill(module, NormalInit(mean, std), bias)


@as_annotated(TensorError)
def trunc_normal_init(
    module: nn.Module, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, bias: float = 0
) -> None:
    """Fill ``module.weight`` from N(mean, std²) within [a, b], and ``module.bias`` with ``bias``."""
    _fill(module, TruncNormalInit(mean, std, a, b), bias)


@as_annotated(TensorError)
def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Fill ``module.weight`` from U(a, b), and ``module.bias`` with ``bias``."""
    _fill(module, UniformInit(a, b), bias)


@as_annotated(TensorError)
def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: str = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: str = "normal",
) -> None:
    """Fill ``module.weight`` as :class:`KaimingInit` says, and ``module.bias`` with ``bias``."""
    _fill(module, KaimingInit(a, mode, nonlinearity, distribution), bias)


@as_annotated(TensorError)
def caffe2_xavier_init(module: nn.Module, bias: float = 0) -> None:
    """Fill ``module.weight`` as :class:`Caffe2XavierInit` says, and ``module.bias`` with ``bias``."""
    _fill(module, Caffe2XavierInit(), bias)


@as_annotated(TensorError)
def trunc_normal_(
    tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> torch.Tensor:
    """Fill a tensor from N(mean, std²) within [a, b], by the original's sampler."""
    _check_writable([tensor])
    value = TruncNormal(*map(float, (mean, std, a, b)))
    _check_value(value)
    with torch.no_grad():
        fill_torch(tensor, value, original=True)
    return tensor


def _fill(module: nn.Module, initializer: BaseInit, bias: float) -> None:
    if isinstance(module, torch.Tensor):
        raise TensorError(
            "This function takes a module, and was given a tensor.",
            fix="Give the module, or use torch.nn.init for a tensor.",
        )
    targets = list(original_targets(module))
    _check_writable([target.tensor for target in targets])
    with torch.no_grad():
        for target in targets:
            if target.slot == "bias":
                target.tensor.fill_(float(bias))
                continue
            try:
                value = initializer.resolve(target.layout)
            except InitcfgError as error:
                error.parameter, error.shape = f"weight of a {type(module).__name__}", target.layout.shape
                raise
            _check_value(value)
            fill_torch(target.tensor, value, original=True)


def _check_writable(tensors: list[torch.Tensor]) -> None:
    if read_only_among(tensors):
        raise TensorError(f"A tensor cannot be written: it {READ_ONLY[0]}.", fix=READ_ONLY[1])


def _check_value(value: Value) -> None:
    if (found := own_fault(value)) is not None:
        raise ArgumentValueError(f"{value} cannot be drawn: {found[1]}.", fix="Correct that number.")
