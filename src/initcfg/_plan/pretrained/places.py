"""The tensors of a module as a checkpoint names them, and where each stands."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from initcfg._model import Entry, Names
from initcfg._plan.pretrained.fitting import Place

_TOKENS = ("cls_token", "class_token", "class_embedding", "dist_token", "reg_token", "register_tokens")


def local_tensors(module: nn.Module, names: Names) -> dict[str, Entry]:
    """The tensors of a module's ``state_dict`` by their names there, without making copies."""
    found: dict[str, Entry] = {}
    for path, inner in module.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        for attribute, tensor in [*inner._parameters.items(), *inner._buffers.items()]:
            if tensor is not None and attribute not in inner._non_persistent_buffers_set:
                found[start + attribute] = names.entries[id(tensor)]
    return found


def places_of(module: nn.Module, local: Mapping[str, Entry]) -> dict[str, Place]:
    """Where each of these tensors stands."""
    modules = dict(module.named_modules(remove_duplicate=False))
    found: dict[str, Place] = {}
    convolution: str | None = None
    for name, entry in local.items():
        path, _, attribute = name.rpartition(".")
        shape = tuple(entry.tensor.shape)
        first = convolution is None and attribute == "weight" and len(shape) in (3, 4, 5)
        if first:
            convolution = name
        found[name] = Place(name, shape, modules[path], first, _tokens(modules[path]))
    return found


def _tokens(module: nn.Module) -> int | None:
    """Tokens before those of the image, as far as a module has parameters of their names."""
    known = [module._parameters.get(name) for name in _TOKENS]
    count = sum(each.shape[-2] if each.dim() > 1 else 1 for each in known if each is not None)
    return count or None
