"""Modules, numbers and plans that the tests of adaptation and of its steps share."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

import initcfg


class Holder(nn.Module):
    """A module with parameters, buffers and modules of these names."""

    def __init__(self, **items: Any) -> None:
        super().__init__()
        for name, item in items.items():
            if isinstance(item, nn.Module):
                self.add_module(name, item)
            elif isinstance(item, tuple):
                self.register_parameter(name, nn.Parameter(torch.zeros(item)))
            else:
                self.register_buffer(name, item)


def loaded(model: nn.Module, state: dict[str, torch.Tensor], adapt: Any, **arguments: Any) -> initcfg.Plan:
    """The plan, carried out; its JSON gives it back."""
    rule = dict(type="Pretrained", checkpoint=state, adapt=adapt, **arguments)
    plan = initcfg.plan(model, rule)
    plan.apply(model, seed=3)
    assert initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    return plan


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def only_load(plan: initcfg.Plan) -> Any:
    (load,) = plan.loads
    return load
