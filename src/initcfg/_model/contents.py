"""Contents: what a module holds by itself, also where torch.jit has compiled it, or it is a layer of Keras.

A compiled module keeps its tensors and children in C++, and shows them in objects that are no dicts. A layer
of Keras has variables and layers of its own, in lists (``keras_layers.py``).
"""

from __future__ import annotations

import torch
from torch import nn

from initcfg._model.keras_layers import is_keras, keras_buffers, keras_children, keras_parameters
from initcfg.errors import TensorError


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The module's own parameters by attribute; what is changed in a compiled module's is lost."""
    if is_keras(type(module)):
        return keras_parameters(module)
    held = module._parameters
    return held if isinstance(held, dict) else dict(held.items())


def buffers_of(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """The module's own buffers by attribute, likewise."""
    if is_keras(type(module)):
        return keras_buffers(module)
    held = module._buffers
    return held if isinstance(held, dict) else dict(held.items())


def children_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """The module's children by attribute, likewise."""
    if is_keras(type(module)):
        return keras_children(module)
    held = module._modules
    return held if isinstance(held, dict) else dict(held.items())


def modules_of(module: nn.Module) -> list[nn.Module]:
    """A module and all below it, once each, in the order of ``modules()``, which takes longer.

    Example:
        >>> from torch import nn
        >>> from initcfg._model.contents import modules_of
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU())
        >>> modules_of(model) == list(model.modules())
        True
    """
    found: dict[int, nn.Module] = {}
    todo = [module]
    while todo:
        each = todo.pop()
        if id(each) not in found:
            found[id(each)] = each
            if len(each._modules):
                todo += [child for child in reversed(list(each._modules.values())) if child is not None]
    return list(found.values())


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.jit has made the module: by script, by trace, or by load."""
    return isinstance(module, torch.jit.ScriptModule)


def compiled_class(module: nn.Module) -> str:
    """The class that a compiled module was made from."""
    return str(getattr(module, "original_name", type(module).__name__))


def replace_tensor(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of a module's own of this name.

    Raises:
        TensorError: torch.jit holds it.
    """
    if is_compiled(module):
        raise TensorError(
            f"{name!r} is held by code that torch.jit has compiled from a {compiled_class(module)}, which "
            "takes no other tensor in its place.",
            shape=tuple(tensor.shape),
            fix="Build this part with memory, or compile it after the weights are there.",
        )
    if is_keras(type(module)):
        raise TensorError(
            f"{name!r} is a variable of the Keras layer {type(module).__name__}, which takes no other tensor "
            "in its place.",
            shape=tuple(tensor.shape),
            fix="Build the model with memory.",
        )
    container = module._parameters if name in module._parameters else module._buffers
    container[name] = tensor  # type: ignore[assignment]
