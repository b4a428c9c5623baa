"""Exports of plans with scales by role and with multipliers."""

from __future__ import annotations

import torch
from torch import nn

import initcfg

IDS = (torch.zeros(2, 4, dtype=torch.long),)


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Deep(nn.Module):
    def __init__(self, layers: int = 6, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.head = nn.Linear(width, 16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


BASE = dict(type="Normal", layer=["Linear", "Embedding"], std=0.02)
BY_LAYER = dict(type="Normal", role="residual_out", std=0.02, scale="1/sqrt(2*(layer+1))")


def test_a_scale_by_layer_is_one_rule_by_role() -> None:
    plan = initcfg.plan(Deep(), [BASE, BY_LAYER], example=IDS)
    rules = plan.to_init_cfg(Deep())
    assert rules[-1] == {
        "type": "Normal",
        "std": 0.02,
        "scale": "1/sqrt(2*(layer+1))",
        "role": "residual_out",
    }
    assert len(rules) == 2
    assert not plan.diff(initcfg.plan(Deep(), rules, example=IDS))


def test_where_numbers_are_as_short_they_are_written() -> None:
    """A config with numbers alone needs no example of the model's input."""
    plan = initcfg.plan(Deep(), [BASE, BY_LAYER | {"scale": "1/sqrt(2*layers)"}], example=IDS)
    rules = plan.to_init_cfg(Deep())
    assert not any("role" in rule for rule in rules)
    assert not plan.diff(initcfg.plan(Deep(), rules))


def test_declared_roles_are_not_written() -> None:
    roles = {"residual_out": "*.down.weight", "blocks": "layers"}
    plan = initcfg.plan(Deep(), [BASE, BY_LAYER], roles=roles)
    rules = plan.to_init_cfg(Deep())
    assert not any("role" in rule for rule in rules)
    assert not plan.diff(initcfg.plan(Deep(), rules))


def test_multipliers_are_exported() -> None:
    tuned = dict(type="Normal", role="mlp_*", std=0.02, tune=dict(lr="1/fan_in", weight_decay=2))
    plan = initcfg.plan(Deep(), [BASE, tuned], example=IDS)
    rules = plan.to_init_cfg(Deep())
    assert {
        "type": "Normal",
        "std": 0.02,
        "tune": {"lr": 0.125, "weight_decay": 2.0},
        "param": "*.up.weight",
    } in rules
    again = initcfg.plan(Deep(), rules)
    assert again["layers.3.down.weight"].tune == {"lr": 1 / 32, "weight_decay": 2.0}
    assert again.digest == plan.digest


def test_several_roles_are_one_rule() -> None:
    rule = BY_LAYER | {"role": ["mlp_in", "residual_out"]}
    plan = initcfg.plan(Deep(), [BASE, rule], example=IDS)
    rules = plan.to_init_cfg(Deep())
    assert sorted(rules[-1]["role"]) == ["mlp_in", "residual_out"]
    assert not plan.diff(initcfg.plan(Deep(), rules, example=IDS))
