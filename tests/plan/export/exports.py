"""What the tests of exports share: plans, what they write, and the rules found for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import nn

import initcfg
from initcfg import Plan
from initcfg._plan.export import init_cfg_of
from initcfg.values import Value

UNREACHED = ("Keep", "Computed", "Opaque")


def pending(make: Callable[[], nn.Module]) -> nn.Module:
    with initcfg.deferred():
        return make()


def written(plan: Plan) -> dict[str, Value]:
    """What somebody writes, by name."""
    items = [*plan.parameters.items(), *plan.buffers.items()]
    return {name: item.value for name, item in items if item.value.kind not in UNREACHED}


def alone(model: nn.Module, rules: Any) -> Plan:
    """The plan of these rules on a model with neither defaults nor rules of its own."""
    return initcfg.plan(model, rules)


def exported(make: Callable[[], nn.Module], init_cfg: Any = None) -> list[dict[str, Any]]:
    """The rules for a deferred build, found to give the same plan on an eager one, which has no defaults."""
    model = pending(make)
    plan = initcfg.plan(model, init_cfg)
    rules = init_cfg_of(plan, model)
    assert all(type(rule) is dict for rule in rules)
    assert json.loads(json.dumps(rules)) == rules
    assert yaml.safe_load(yaml.safe_dump(rules, sort_keys=False)) == rules
    assert written(alone(make(), rules)) == written(plan)
    return rules


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.gamma = nn.Parameter(torch.full((8,), 1e-5))


class Vit(nn.Module):
    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.pos_embed = nn.Parameter(torch.empty(1, 5, 8))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.head = nn.Linear(8, 10)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01 if name.endswith("proj") else 0.02)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.head.bias, -4.5)
