"""Targets: the tensors that a module of some class owns, each with its slot and layout.

The original knows the attributes ``weight`` and ``bias``. Attention, recurrent and embedding layers
hold their weights under other names, or several as one; what each is, is said here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, singledispatch
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from initcfg._model.contents import buffers_of, children_of, compiled_class, is_compiled, parameters_of
from initcfg._model.keras_layers import is_keras, keras_kernels
from initcfg._model.layouts import declared_layouts
from initcfg._model.names import LAZY, RUN_ONE_BATCH
from initcfg.errors import LazyParameterError, TensorError
from initcfg.values import Layout


class Target(NamedTuple):
    """One tensor to write: for a parametrized weight, the first that it is stored as."""

    tensor: torch.Tensor
    slot: str
    layout: Layout
    attribute: str


_SLOTS = ("weight", "bias")
Find = Callable[[nn.Module, str], torch.Tensor | None]
"""Looks in a module for the tensor of a slot."""


@lru_cache(maxsize=65536)
def plain_layout(shape: tuple[int, ...]) -> Layout:
    """The layout of a tensor whose axes mean what they mean in a Linear; one object for each shape."""
    return Layout(tuple(shape))


def targets(module: nn.Module) -> list[Target]:
    """The tensors of a module that a rule reaches."""
    find = _finder(type(module))
    if find is not None:
        found = find(module)
    elif is_keras(type(module)):
        found = [Target(each.tensor, each.slot, each.layout, each.name) for each in keras_kernels(module)]
    else:
        found = _targets.dispatch(_layer_class(module))(module)
    declared = declared_layouts(module)
    if not declared:
        return found
    by_attribute = {each.attribute: each for each in found}
    for attribute, layout in declared.items():
        known = by_attribute.get(attribute)
        tensor = parameters_of(module).get(attribute) if known is None else known.tensor
        if tensor is None:
            tensor = _stored(module, attribute)
        if tensor is not None and not is_lazy(tensor):
            slot = "bias" if "bias" in attribute else "weight"
            by_attribute[attribute] = Target(tensor, slot if known is None else known.slot, layout, attribute)
    return list(by_attribute.values())


@lru_cache(maxsize=16384)
def _finder(cls: type) -> Callable[[nn.Module], list[Target]] | None:
    """What finds the tensors of modules of a class; None where only the module tells."""
    by_module = is_keras(cls) or issubclass(cls, torch.jit.ScriptModule)
    return None if by_module else _targets.dispatch(cls)


def _layer_class(module: nn.Module) -> type:
    """The class that knows the module's tensors: of what torch.jit compiled, the layer of torch it was."""
    was = getattr(nn, compiled_class(module), None) if is_compiled(module) else None
    if isinstance(was, type) and issubclass(was, (nn.modules.conv._ConvNd, nn.MultiheadAttention)):
        return was
    return type(module)


@singledispatch
def _targets(module: nn.Module) -> list[Target]:
    # Deformable convolutions, which torch does not know as convolutions, carry the same attributes.
    is_convolution = isinstance(module.__dict__.get("groups"), int)
    return _convolution(module) if is_convolution else _weight_and_bias(module, _stored)


def original_targets(module: nn.Module) -> list[Target]:
    """The tensors that the original writes: whatever ``weight`` and ``bias`` are."""
    held = parameters_of(module)
    if any(is_lazy(tensor) for slot in _SLOTS if (tensor := held.get(slot)) is not None):
        raise LazyParameterError(LAZY, fix=RUN_ONE_BATCH)
    return _weight_and_bias(module, _attribute)


def _weight_and_bias(module: nn.Module, find: Find) -> list[Target]:
    """``weight`` and ``bias``: parameters, or what ``find`` finds in their place."""
    found: list[Target] = []
    held = parameters_of(module)
    for slot in _SLOTS:
        tensor = held.get(slot)
        if tensor is None:
            tensor = find(module, slot)
        if tensor is None or (type(tensor) is not nn.Parameter and is_lazy(tensor)):
            # The planner refuses a rule that means a tensor without a shape.
            continue
        found.append(Target(tensor, slot, plain_layout(tensor.shape), slot))
    return found


def _attribute(module: nn.Module, slot: str) -> torch.Tensor | None:
    """``weight`` or ``bias``, whatever computes it."""
    tensor = getattr(module, slot, None)
    if tensor is not None and not isinstance(tensor, torch.Tensor):
        raise TensorError(
            f"The {slot} of a {type(module).__name__} is {type(tensor).__name__}, not a tensor: the original "
            "cannot initialize such a layer.",
            fix="Leave out compat='mmengine', which can.",
        )
    return tensor


def _stored(module: nn.Module, slot: str) -> torch.Tensor | None:
    """What ``weight`` or ``bias`` is stored as that is not a parameter: parametrized, buffer or property."""
    if slot in parameters_of(module):
        return None
    chains = children_of(module).get("parametrizations")
    if isinstance(chains, nn.ModuleDict) and slot in chains:
        return getattr(chains[slot], "original", getattr(chains[slot], "original0", None))
    by = instead = None
    if f"{slot}_g" in parameters_of(module) and f"{slot}_v" in parameters_of(module):
        by, instead = "weight_norm", "parametrizations.weight_norm"
    elif f"{slot}_orig" in parameters_of(module):
        pruned = f"{slot}_mask" in buffers_of(module)
        by, instead = ("prune", None) if pruned else ("spectral_norm", "parametrizations.spectral_norm")
    if by is not None:
        raise TensorError(
            f"The {slot} of this {type(module).__name__} is computed before each use by torch.nn.utils.{by}, "
            "so that writing it has no effect.",
            fix=f"Use torch.nn.utils.{instead}, which can be written through."
            if instead
            else "Initialize first, and prune after; or exclude it, and set weight_orig by param.",
        )
    tensor = buffers_of(module).get(slot)
    if tensor is None and isinstance(getattr(type(module), slot, None), property):
        tensor = getattr(module, slot)
        return tensor if isinstance(tensor, nn.Parameter) else None
    return tensor


@_targets.register(nn.modules.conv._ConvNd)
def _convolution(module: nn.Module) -> list[Target]:
    groups = getattr(module, "groups", 1)
    transposed = getattr(module, "transposed", None)
    if transposed is None:
        # What torch.jit has traced keeps its class's name alone.
        transposed = compiled_class(module).startswith("ConvTranspose")
    found = _weight_and_bias(module, _stored)
    for index, (tensor, slot, layout, attribute) in enumerate(found):
        if slot == "weight" and len(layout.shape) > 2:
            layout = _convolution_layout(layout.shape, groups, bool(transposed))
            found[index] = Target(tensor, slot, layout, attribute)
    return found


@lru_cache(maxsize=65536)
def _convolution_layout(shape: tuple[int, ...], groups: int, transposed: bool) -> Layout:
    return Layout(shape, groups=groups, transposed=transposed)


@_targets.register(nn.MultiheadAttention)
def _attention(module: nn.MultiheadAttention) -> list[Target]:
    found: list[Target] = []
    weights = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    for name in (*weights, "in_proj_bias", "bias_k", "bias_v"):
        tensor = parameters_of(module).get(name)
        if tensor is not None:
            parts = (tensor.shape[0] // 3,) * 3 if name == "in_proj_weight" else ()
            slot = "weight" if name in weights else "bias"
            found.append(Target(tensor, slot, Layout(tuple(tensor.shape), parts=parts), name))
    out = children_of(module).get("out_proj")
    if out is not None:
        found += [each._replace(attribute=f"out_proj.{each.attribute}") for each in targets(out)]
    return found


@_targets.register(nn.RNNBase)
@_targets.register(nn.RNNCellBase)
def _recurrent(module: nn.RNNBase | nn.RNNCellBase) -> list[Target]:
    """LSTM, GRU and RNN, whole or as cells: the gates lie on top of each other."""
    hidden = module.hidden_size
    found: list[Target] = []
    for name, tensor in parameters_of(module).items():
        if tensor is None:
            continue
        slot = "bias" if name.startswith("bias") else "weight"
        gates = 1 if name.startswith(("bias", "weight_hr")) else tensor.shape[0] // hidden
        parts = (hidden,) * gates if gates > 1 else ()
        found.append(Target(tensor, slot, Layout(tuple(tensor.shape), parts=parts), name))
    return found
