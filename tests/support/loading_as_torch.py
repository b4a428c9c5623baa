"""What a checkpoint gives, beside torch's own ``load_state_dict``; and models with hooks for it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import initcfg

State = dict[str, torch.Tensor]


def numbered(module: nn.Module) -> State:
    """A state_dict, of which every number is another one; what it says of modules stays with it."""
    state = module.state_dict()
    for index, (name, tensor) in enumerate(state.items()):
        state[name] = torch.arange(tensor.numel()).reshape(tensor.shape).to(tensor.dtype) + 100 * index
    return state


def contents(module: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def loaded_as_torch_does(model: nn.Module, state: Any, **more: Any) -> initcfg.Plan:
    """Plan and apply; the model then holds what ``load_state_dict`` gives, and planning changed nothing."""
    reference = copy.deepcopy(model)
    reference.load_state_dict(copy.deepcopy(state), strict=False)
    before, given = contents(model), {name: tensor.clone() for name, tensor in state.items()}
    attributes = dict(vars(model))
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": state, **more})
    assert equal(contents(model), before) and vars(model) == attributes
    plan.apply(model, seed=0)
    assert equal(contents(model), contents(reference))
    assert equal(dict(state), given)
    return plan


class Resized(nn.Module):
    """As vision transformers: positions of another number are resized when they are loaded."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, count, 4))
        self.head = nn.Linear(4, 2)
        self._register_load_state_dict_pre_hook(self._resize)

    def _resize(self, state: State, prefix: str, *_: Any) -> None:
        found = state.get(prefix + "positions")
        if found is not None and found.shape != self.positions.shape:
            turned = found.transpose(1, 2)
            size = self.positions.shape[1]
            state[prefix + "positions"] = functional.interpolate(turned, size=size).transpose(1, 2)
