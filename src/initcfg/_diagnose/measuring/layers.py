"""Layers: what multiplies a signal by a weight, as a module or by a function with a parameter."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from initcfg._diagnose.measuring.seen import LayerSeen, Seen, memory_of
from initcfg._diagnose.measuring.sizes import first_tensor_of, largest, rms, usual_rms, variation

_PRODUCTS = {
    "linear",
    "matmul",
    "__matmul__",
    "__rmatmul__",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "einsum",
    "tensordot",
    "bilinear",
    "conv1d",
    "conv2d",
    "conv3d",
}
_LOOK_UPS = {"embedding", "__getitem__", "index_select"}


def has_matrix(module: nn.Module) -> bool:
    """Whether a module multiplies by a weight of its own."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.RNNBase):
        return True
    return isinstance(weight, torch.Tensor) and weight.dim() >= 2


def is_layer(module: nn.Module) -> bool:
    """Whether a module is one, and nothing else."""
    return has_matrix(module) and not list(module.children())


def channel_axis(tensor: torch.Tensor) -> int:
    """The axis along which a position's numbers lie."""
    return 1 if tensor.dim() >= 4 else tensor.dim() - 1


def note_layer(
    seen: Seen, name: str, kind: str, told: torch.Tensor, entering: float | None, input_largest: float
) -> None:
    """A layer has run: its output, and later the gradient there."""
    far = largest(told)
    layer = LayerSeen(name, kind, entering, input_largest, rms(told), far, variation(told))
    layer.memory = memory_of(told)
    seen.layers.append(layer)
    if not math.isfinite(far):
        seen.broken.append((name, layer.kind))
    if told.requires_grad:
        axis = channel_axis(told)

        def note(gradient: torch.Tensor) -> None:
            with seen.looking():
                layer.gradient_rms, layer.usual_gradient = rms(gradient), usual_rms(gradient, axis)

        told.register_hook(note)


class Products:
    """Multiplications by a parameter that code writes by itself: ``x @ self.table.weight.T``.

    Such a layer has the name of its parameter. What is computed from parameters alone, as a transpose or a
    normalized weight, stands for them.
    """

    def __init__(self, names: Mapping[int, str], layers: frozenset[str]) -> None:
        """``names``: of parameters, by identity; ``layers``: modules whose own product is watched there."""
        self._names = names
        self._layers = layers
        self._made: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}

    def note(self, seen: Seen, function: str, arguments: Any, output: Any) -> None:
        """A function has run."""
        told = first_tensor_of(output)
        if told is None or (seen.stack and seen.stack[-1] in self._layers):
            return
        given = [each for each in tree_leaves(arguments) if isinstance(each, torch.Tensor)]
        named = [(each, self._name(each)) for each in given]
        if named and all(name for _, name in named):
            # Not the parameter itself, as what is changed in place returns it.
            if id(told) not in self._names:
                self._made[id(told)] = weakref.ref(told), named[0][1] or ""
            return
        weight = next((name for each, name in named if name and each.dim() >= 2), None)
        if weight is None:
            return
        if function in _LOOK_UPS:
            seen.looked_up.add(weight)
        data = next((each for each, name in named if not name and each.is_floating_point()), None)
        if function in _PRODUCTS and data is not None:
            note_layer(seen, weight, function.strip("_"), told, rms(data), largest(data))

    def _name(self, tensor: torch.Tensor) -> str | None:
        for each in (tensor, tensor._base):
            if each is None:
                continue
            if id(each) in self._names:
                return self._names[id(each)]
            made, name = self._made.get(id(each), (None, None))
            if made is not None and made() is each:
                return name
        return None
