"""Keras layers: modules whose weights are variables of Keras, and whose layers are in lists of its own.

Keras 3 on torch makes a module of each layer, and registers in it nothing but one ``ParameterDict``, under
names that count all layers of the process (``sequential_3/dense_7/kernel``). Two builds of one model have
different names then, and ``Dense`` has no ``kernel``. Seen from here, a layer holds its own variables by
their names, and its layers by the attribute that holds them, the name that they were given, or class and
number among their siblings: what Keras itself calls them in its files of weights.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from initcfg.errors import LazyParameterError
from initcfg.values import Layout

_MIRROR = "_torch_params"
"""Where Keras shows torch all variables of a layer once more."""


@lru_cache(maxsize=4096)
def is_keras(cls: type) -> bool:
    """Whether modules of this class are layers of Keras; it is asked only if it is loaded."""
    layer = getattr(sys.modules.get("keras.src.layers.layer"), "Layer", None)
    return isinstance(layer, type) and issubclass(cls, layer)


def keras_parameters(layer: Any) -> dict[str, nn.Parameter | None]:
    """The layer's own weights, frozen or not."""
    return _own(layer, layer._trainable_variables)


def keras_buffers(layer: Any) -> dict[str, torch.Tensor | None]:
    """What else it keeps, such as the means of a BatchNormalization; not the state of its random numbers."""
    return dict(_own(layer, layer._non_trainable_variables))


def keras_children(layer: Any) -> dict[str, nn.Module | None]:
    """The layers of a layer, and modules of torch in it."""
    registered = {id(child): name for name, child in layer._modules.items()}
    listed = {id(child): name for name, child in _in_containers(layer)}
    found: dict[str, nn.Module | None] = {}
    counts: dict[str, int] = {}
    for child in layer._layers:
        plain = _snake_case(type(child).__name__)
        counted = f"{plain}_{counts[plain]}" if counts.setdefault(plain, 0) else plain
        counts[plain] += 1
        given = None if re.fullmatch(rf"{re.escape(plain)}(_\d+)?", child.name) else child.name
        attribute = registered.get(id(child)) or listed.get(id(child))
        private = attribute is not None and attribute.startswith("_")
        name = (given if private else None) or attribute or given or counted
        # A name may be given twice.
        found[name if name not in found else counted] = child
    return found | _torch_modules(layer)


def _torch_modules(layer: Any) -> dict[str, nn.Module | None]:
    return {
        name: child
        for name, child in layer._modules.items()
        if child is not None and name != _MIRROR and not is_keras(type(child))
    }


def _own(layer: Any, variables: Any) -> dict[str, nn.Parameter | None]:
    if _torch_modules(layer):
        # Its variables are the parameters of the module that it wraps.
        return {}
    found: dict[str, nn.Parameter | None] = {}
    for variable in variables:
        name, number = variable.name, 1
        while name in found:
            name, number = f"{variable.name}_{number}", number + 1
        found[name] = variable._value
    return found


def _in_containers(layer: Any) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for attribute, held in vars(layer).items():
        if not attribute.startswith("_") and isinstance(held, (list, tuple, dict)):
            items = held.items() if isinstance(held, dict) else enumerate(held)
            found += [(f"{attribute}.{key}", each) for key, each in items]
    return found


def _snake_case(name: str) -> str:
    """As Keras makes names of classes: ``Conv2DTranspose`` is ``conv2d_transpose``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Kernel(NamedTuple):
    """A tensor of a Keras layer, what it is to a rule, and what its axes mean."""

    name: str
    tensor: torch.Tensor
    slot: str
    layout: Layout


def keras_kernels(layer: Any) -> list[Kernel]:
    """What a rule reaches in a Keras layer: kernels, embeddings and gains are weights, the rest biases."""
    if not layer.built:
        raise LazyParameterError(
            f"The Keras layer {layer.name!r} has no variables before it is built, so nothing can be planned.",
            fix="Give the model its input (keras.Input), or run one batch through it first.",
        )
    return [
        Kernel(
            name,
            tensor,
            "bias" if "bias" in name or name == "beta" else "weight",
            _layout(layer, name, tuple(tensor.shape)),
        )
        for name, tensor in keras_parameters(layer).items()
        if tensor is not None
    ]


def _layout(layer: Any, name: str, shape: tuple[int, ...]) -> Layout:
    """Keras stores (space ..., inputs, outputs); its classes say where that is otherwise."""
    if "kernel" not in name or len(shape) < 2:
        return Layout(shape)
    classes = {each.__name__ for each in type(layer).__mro__}
    last, before = len(shape) - 1, len(shape) - 2
    if equation := _equation(layer, shape):
        return Layout(shape, **equation)
    if classes & {"BaseDepthwiseConv", "BaseSeparableConv"} and "pointwise" not in name:
        # Each channel has filters of its own: they are matrices of one input.
        return Layout(shape, in_axis=(), out_axis=(last,), batch_axis=(before,))
    if "BaseConvTranspose" in classes:
        return Layout(shape, in_axis=(last,), out_axis=(before,))
    return Layout(shape, in_axis=(before,), out_axis=(last,))


def _equation(layer: Any, shape: tuple[int, ...]) -> Mapping[str, Any] | None:
    """EinsumDense: letters of the kernel that the input has too are inputs, those of the output outputs."""
    equation = getattr(layer, "equation", None)
    if not isinstance(equation, str):
        return None
    found = re.fullmatch(r"[.\s]*(\w+)[.\s]*,\s*(\w+)\s*->[.\s]*(\w+)[.\s]*", equation)
    if found is None or len(found[2]) != len(shape):
        return None
    into, kernel, out = found.groups()

    def places(test: Any) -> tuple[int, ...]:
        return tuple(place for place, letter in enumerate(kernel) if test(letter in into, letter in out))

    return {
        "in_axis": places(lambda before, after: before and not after),
        "out_axis": places(lambda before, after: after and not before),
        "batch_axis": places(lambda before, after: before and after),
    }
