"""Roles that are declared as ``initcfg roles --config`` prints them give what the example gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from role_models import GatedBlock, GatedMLP, Mixture, NanoGPT, Parallel, ResNet
from torch import nn

import initcfg
from initcfg._model import declaration, find_roles

IDS = torch.zeros(2, 8, dtype=torch.long)


class Gates(nn.Module):
    """Two streams: a list of bare layers with learned gates, and a single branch of no list."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(5, width), nn.Linear(7, width)
        self.steps = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.gates = nn.Parameter(torch.ones(2))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x, y = self.one(a), self.other(b)
        for number, step in enumerate(self.steps):
            x = x + self.gates[number] * torch.tanh(step(x))
        return x.mean(1) * (y + self.down(torch.relu(self.up(y)))).mean(1)


class Flat(nn.Module):
    """Blocks that are attributes, in no list."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.second = GatedBlock(width), GatedBlock(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


MODELS: dict[str, tuple[Any, Any]] = {
    "attention": (NanoGPT, IDS),
    "convolutions": (ResNet, torch.zeros(2, 3, 16, 16)),
    "experts": (Mixture, IDS),
    "parallel branches": (Parallel, torch.zeros(2, 5, 12)),
    "gated": (GatedMLP, torch.zeros(2, 8, 6)),
    "two streams": (Gates, (torch.zeros(2, 6, 5), torch.zeros(2, 6, 7))),
    "no list": (Flat, torch.zeros(2, 8)),
}
RULES = [
    *(dict(type=scheme) for scheme in ("GPT2", "NeoX", "Mitchell", "WangInit")),
    dict(type="Normal", role="residual_out", std=1, scale="1/residuals"),
    dict(type="Normal", role="attn_q*", std=1, scale="1/heads"),
]


@pytest.mark.parametrize(("make", "example"), MODELS.values(), ids=MODELS)
def test_a_plan_with_what_was_seen_and_with_what_is_declared(make: Any, example: Any) -> None:
    model = make()
    declared = declaration(model, find_roles(model, example=example))
    planned = 0
    for rule in RULES:
        try:
            seen = initcfg.plan(model, rule, example=example)
        except initcfg.errors.PlanError:
            # It asks for what this model has not.
            continue
        if make is Flat and rule["type"] == "Mitchell":
            # Which block is which, nothing but the example can say.
            with pytest.raises(initcfg.errors.RoleError, match="needs layer"):
                initcfg.plan(model, rule, roles=declared)
            continue
        assert initcfg.plan(model, rule, roles=declared).diff(seen) == {}, rule
        planned += 1
    assert planned >= 2


def test_numbers_of_the_whole_model_are_declared() -> None:
    model = NanoGPT()
    said = declaration(model, find_roles(model, example=IDS))
    assert (said["width"], said["heads"], said["blocks"]) == (16, 4, "h")
    assert {"layers", "residuals"}.isdisjoint(said)
    found = find_roles(model, declared=said)
    assert found.tensors["h.0.mix_in.weight"].heads == 4 and found.tensors["h.0.up.weight"].heads is None


def test_experts_of_a_mixture_end_one_branch() -> None:
    model = Mixture()
    seen = find_roles(model, example=IDS)
    declared = find_roles(model, declared=declaration(model, seen))
    assert (declared.layers, declared.residuals) == (seen.layers, seen.residuals)


def test_a_bare_layer_is_a_block() -> None:
    model = Gates()
    said = declaration(model, find_roles(model, example=MODELS["two streams"][1]))
    assert said["blocks"] == ["steps", "down"]
    plan = initcfg.plan(model, dict(type="GPT2"), roles=said)
    assert plan["down.weight"].value.std == pytest.approx(0.02 / 2**0.5)


def test_numbers_instead_of_blocks_where_there_is_no_list() -> None:
    model = Flat()
    said = declaration(model, find_roles(model, example=torch.zeros(2, 8)))
    assert "blocks" not in said and (said["layers"], said["residuals"]) == (2, 2)
