"""Experts that the example's tokens do not choose have their roles all the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from initcfg._model import find_roles


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.router = nn.Linear(8, 4)
        self.experts = nn.ModuleList(Expert() for _ in range(4))
        self.head = nn.Linear(8, 50)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        tokens = self.embedding(ids).flatten(0, 1)
        weights, chosen = self.router(tokens).softmax(-1).topk(2, -1)
        found = torch.zeros_like(tokens)
        for index, expert in enumerate(self.experts):
            token, place = torch.where(chosen == index)
            found.index_add_(0, token, expert(tokens[token]) * weights[token, place, None])
        return self.head(tokens + found)


@pytest.mark.parametrize("ids", [torch.zeros(2, 8, dtype=torch.long), torch.arange(16).view(2, 8)])
def test_idle_experts(ids: torch.Tensor) -> None:
    found = find_roles(Mixture(), example=(ids,)).tensors
    assert found["router.weight"].roles == ("router",)
    for index in range(4):
        roles = [found[f"experts.{index}.{name}.weight"].roles for name in ("gate", "up", "down")]
        assert roles == [("expert_gate",), ("expert_in",), ("residual_out", "expert_out")]
