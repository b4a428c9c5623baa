"""Modules that hold given tensors, and what the tests of recorded code compare of them."""

from __future__ import annotations

import torch
from torch import nn


def holding(**tensors):
    """A module of these parameters; integers and booleans are buffers."""
    module = nn.Module()
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex():
            module.register_parameter(name, nn.Parameter(tensor))
        else:
            module.register_buffer(name, tensor)
    return module


def tensors_of(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def bits(tensor):
    tensor = tensor.detach().resolve_conj().clone().contiguous()
    return tensor.reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


def changed(change, *shape):
    """Builds a module with a parameter ``p`` that was changed."""

    def build():
        module = holding(p=torch.empty(*shape or (16, 8)))
        with torch.no_grad():
            change(module.p)
        return module

    return build
