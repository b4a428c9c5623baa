"""One forward and one backward pass, watched."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from initcfg._diagnose.measuring.functions import Watch
from initcfg._diagnose.measuring.layers import Products, is_layer
from initcfg._diagnose.measuring.modules import watched_modules
from initcfg._diagnose.measuring.seen import Seen
from initcfg._diagnose.measuring.sizes import first_tensor_of, variation
from initcfg._diagnose.users_code import users_code
from initcfg._model import named_tensors


def observed(model: nn.Module, run: Any) -> Seen:
    """What a pass shows; the gradients stay in the parameters.

    Args:
        run: From the model to its loss.
    """
    seen = Seen()
    names = {id(each): entry.name for entry in named_tensors(model).parameters for each in entry.stored}
    layers = frozenset(name for name, module in model.named_modules() if is_layer(module))
    handle = model.register_forward_hook(lambda *call: _last(seen, call[-1]))
    first = model.register_forward_pre_hook(
        lambda _, given, named: _first(seen, given, named), with_kwargs=True
    )
    try:
        with watched_modules(model, seen), Watch(seen, Products(names, layers)):
            loss = run(model)
        seen.loss = loss.item()
        if math.isfinite(seen.loss) and loss.requires_grad:
            with users_code("The backward pass failed"):
                loss.backward()
    finally:
        handle.remove()
        first.remove()
    seen.raise_fault()
    return seen


def _first(seen: Seen, given: Any, named: Any) -> None:
    with seen.looking():
        tensors = [each for each in (*given, *named.values()) if isinstance(each, torch.Tensor)]
        if not seen.inputs:
            seen.inputs = [each.detach() for each in tensors if each.is_floating_point() and each.dim() >= 2]


def _last(seen: Seen, output: Any) -> None:
    with seen.looking():
        logits = getattr(output, "logits", None)
        told = logits if isinstance(logits, torch.Tensor) else first_tensor_of(output)
        if told is not None and told.dim() >= 2:
            seen.output_varies = variation(told)
            seen.output_std = told.detach().std(-1).float().mean().item() if told.shape[-1] > 1 else None
