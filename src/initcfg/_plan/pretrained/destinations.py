"""Destinations: the tensors of a module by the names of its ``state_dict``, and where each stands in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from initcfg._model import Entry, Names, buffers_of, modules_in, parameters_of

_TOKENS = ("cls_token", "class_token", "class_embedding", "dist_token", "reg_token", "register_tokens")


@dataclass(frozen=True)
class Destination:
    """A tensor that a checkpoint may fill: its name in the ``state_dict``, its shape as it is stored."""

    name: str
    shape: tuple[int, ...]
    tensor: torch.Tensor
    entry: Entry
    module: nn.Module
    # Whether it is the weight of the first convolution.
    first_conv: bool
    # The module around its module, if there is one.
    parent: nn.Module | None
    # Tokens that its module puts before those of the image: class token, registers.
    tokens: int | None


def destinations_in(module: nn.Module, names: Names, *, compat: bool = False) -> dict[str, Destination]:
    """The tensors of a module's ``state_dict`` by their names there, without making copies.

    What a wrapper adds to a name is left out; under ``compat``, but for what the original needs in a key.
    """
    found: dict[str, Destination] = {}
    at: dict[str, nn.Module] = {}
    for path, inner in modules_in(module, "", compat=compat):
        at[path] = inner
        parent = at[path.rpartition(".")[0]] if path else None
        tokens = _tokens(inner)
        if tokens is None and isinstance(inner, nn.Embedding):
            # CLIP's positions are an embedding beside the token.
            tokens = None if parent is None else _tokens(parent)
        for attribute, tensor in [*parameters_of(inner).items(), *buffers_of(inner).items()]:
            if tensor is None or attribute in inner._non_persistent_buffers_set:
                continue
            name = f"{path}.{attribute}" if path else attribute
            entry = names.of(tensor)
            shape = tuple(tensor.shape)
            convolution = attribute == "weight" and len(shape) in (3, 4, 5)
            first = convolution and not any(each.first_conv for each in found.values())
            found[name] = Destination(name, shape, tensor, entry, inner, first, parent, tokens)
    return found


def computed_names(module: nn.Module, *, compat: bool = False) -> set[str]:
    """Names of the buffers that a ``state_dict`` leaves out, since their modules compute them."""
    return {
        f"{path}.{name}" if path else name
        for path, inner in modules_in(module, "", compat=compat)
        for name in inner._non_persistent_buffers_set
    }


def _tokens(module: nn.Module) -> int | None:
    """Tokens before those of the image, as far as a module has parameters of their names."""
    held = parameters_of(module)
    known = [held.get(name) for name in _TOKENS]
    count = sum(each.shape[-2] if each.dim() > 1 else 1 for each in known if each is not None)
    return count or None
