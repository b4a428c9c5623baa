"""Targets: the tensors that a module of some class owns, each with its role and layout.

The original knows the attributes ``weight`` and ``bias``. Attention, recurrent and embedding layers
hold their weights under other names, or several as one; what each is, is said here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from initcfg.errors import LazyParameterError, TensorError
from initcfg.values import Layout


class Target(NamedTuple):
    """One tensor to write.

    Attributes:
        tensor: The tensor, or for a parametrized weight the first tensor that it is stored as.
        role: ``"weight"`` or ``"bias"``.
        layout: Its shape and the meaning of its axes.
        attribute: Name within the module.
    """

    tensor: torch.Tensor
    role: str
    layout: Layout
    attribute: str


@lru_cache(maxsize=65536)
def plain_layout(shape: torch.Size) -> Layout:
    """The layout of a tensor whose axes mean what they mean in a Linear; one object for each shape."""
    return Layout(tuple(shape))


def targets(module: nn.Module) -> list[Target]:
    """The tensors of a module that a rule reaches.

    Raises:
        TensorError: ``weight`` is computed from other tensors in a way that cannot be undone.
    """
    return _handler(type(module))(module)


def original_targets(module: nn.Module) -> list[Target]:
    """The tensors that the original writes: whatever ``weight`` and ``bias`` are.

    Raises:
        TensorError: One of them is no tensor (the original fails with an AttributeError).
        LazyParameterError: One of them has no shape yet.
    """
    found: list[Target] = []
    for role in ("weight", "bias"):
        tensor = module._parameters.get(role)
        if tensor is None:
            tensor = getattr(module, role, None)
            if tensor is None:
                continue
            if not isinstance(tensor, torch.Tensor):
                raise TensorError(
                    f"The {role} of a {type(module).__name__} is {type(tensor).__name__}, no tensor: the "
                    "original cannot initialize such a layer.",
                    fix="Leave out compat='mmengine', which can.",
                )
        if is_lazy(tensor):
            raise LazyParameterError("A lazy module has no shape yet.", fix="Run one batch through it.")
        found.append(Target(tensor, role, plain_layout(tensor.shape), role))
    return found


@lru_cache(maxsize=4096)
def _handler(cls: type) -> Callable[[nn.Module], list[Target]]:
    for base, handler in _HANDLERS:
        if issubclass(cls, base):
            return handler
    return _plain


def _plain(module: nn.Module) -> list[Target]:
    found: list[Target] = []
    for role in ("weight", "bias"):
        tensor = module._parameters.get(role)
        if tensor is None:
            tensor = _unusual(module, role)
        if tensor is not None:
            found.append(Target(tensor, role, plain_layout(tensor.shape), role))
    return found


def _unusual(module: nn.Module, role: str) -> torch.Tensor | None:
    """``weight`` or ``bias`` that is no parameter of its module: parametrized, buffer or property."""
    if role in module._parameters:
        return None
    chains = module._modules.get("parametrizations")
    if isinstance(chains, nn.ModuleDict) and role in chains:
        chain = chains[role]
        original = getattr(chain, "original", None)
        return original if original is not None else getattr(chain, "original0", None)
    if f"{role}_g" in module._parameters and f"{role}_v" in module._parameters:
        raise _computed(module, role, "torch.nn.utils.weight_norm", "parametrizations.weight_norm")
    if f"{role}_orig" in module._parameters:
        if f"{role}_mask" in module._buffers:
            raise _computed(module, role, "torch.nn.utils.prune", None)
        raise _computed(module, role, "torch.nn.utils.spectral_norm", "parametrizations.spectral_norm")
    tensor = module._buffers.get(role)
    if tensor is not None:
        return tensor
    if isinstance(getattr(type(module), role, None), property):
        tensor = getattr(module, role)
        return tensor if isinstance(tensor, nn.Parameter) else None
    return None


def _computed(module: nn.Module, role: str, by: str, instead: str | None) -> TensorError:
    return TensorError(
        f"The {role} of this {type(module).__name__} is computed before each use by {by}, so that writing it "
        "has no effect.",
        fix=f"Use torch.nn.utils.{instead}, which can be written through."
        if instead
        else "Initialize first, and prune after; or exclude it, and set weight_orig by param.",
    )


def _layout(module: nn.Module, tensor: torch.Tensor, **meaning: object) -> Layout:
    """The layout of a weight; a parametrized one is stored in some shape that may differ."""
    return Layout(tuple(tensor.shape), **meaning)  # type: ignore[arg-type]


def _convolution(module: nn.Module) -> list[Target]:
    groups, transposed = getattr(module, "groups", 1), bool(getattr(module, "transposed", False))
    return [
        target._replace(layout=_layout(module, target.tensor, groups=groups, transposed=transposed))
        if target.role == "weight" and target.tensor.dim() > 2
        else target
        for target in _plain(module)
    ]


def _attention(module: nn.Module) -> list[Target]:
    found: list[Target] = []
    for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        tensor = module._parameters.get(name)
        if tensor is not None:
            parts = (tensor.shape[0] // 3,) * 3 if name == "in_proj_weight" else ()
            found.append(Target(tensor, "weight", _layout(module, tensor, parts=parts), name))
    for name in ("in_proj_bias", "bias_k", "bias_v"):
        tensor = module._parameters.get(name)
        if tensor is not None:
            found.append(Target(tensor, "bias", plain_layout(tensor.shape), name))
    out = module._modules.get("out_proj")
    if out is not None:
        found += [each._replace(attribute=f"out_proj.{each.attribute}") for each in targets(out)]
    return found


def _recurrent(module: nn.Module) -> list[Target]:
    """LSTM, GRU and RNN, whole or as cells: the gates lie on top of each other."""
    hidden = int(module.hidden_size)  # type: ignore[arg-type]
    found: list[Target] = []
    for name, tensor in module._parameters.items():
        if tensor is None:
            continue
        if name.startswith("bias"):
            found.append(Target(tensor, "bias", plain_layout(tensor.shape), name))
            continue
        gates = tensor.shape[0] // hidden if not name.startswith("weight_hr") else 1
        parts = (hidden,) * gates if gates > 1 else ()
        found.append(Target(tensor, "weight", _layout(module, tensor, parts=parts), name))
    return found


def _maybe_convolution(module: nn.Module) -> list[Target]:
    # Convolutions that are no torch convolutions (deformable ones) carry the same attributes.
    if isinstance(module.__dict__.get("groups"), int):
        return _convolution(module)
    return _plain(module)


_HANDLERS: list[tuple[type, Callable[[nn.Module], list[Target]]]] = [
    (nn.modules.conv._ConvNd, _convolution),
    (nn.MultiheadAttention, _attention),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent),
    (nn.Module, _maybe_convolution),
]
