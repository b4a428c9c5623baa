"""A plan's multipliers as parameter groups; folded factors train as the model that multiplies."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg.errors import ArgumentValueError, PlanError


def net(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, width), nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 4)
    )


def mup_plan(model: nn.Module, **arguments) -> initcfg.Plan:
    with torch.device("meta"):
        base = net(16)
    return initcfg.plan(model, dict(type="MuP", base=base, **arguments))


def test_groups_have_the_multipliers() -> None:
    model = net(64)
    groups = initcfg.param_groups(
        model, mup_plan(model), lr=0.1, weight_decay=0.5, eps=1e-6, no_decay=["*.bias"]
    )
    found = {name: group for group in groups for name in group["names"]}
    assert {name for name, _ in model.named_parameters()} == found.keys()
    assert found["0.weight"]["lr"] == found["1.weight"]["lr"] == 0.1
    assert (found["2.weight"]["lr"], found["2.weight"]["weight_decay"]) == (0.025, 2.0)
    assert (found["3.weight"]["lr"], found["3.weight"]["weight_decay"]) == (0.025, 2.0)
    assert (found["2.weight"]["eps"], found["3.weight"]["eps"]) == (1e-6, 4e-6)
    assert found["0.bias"]["weight_decay"] == 0
    assert found["2.weight"]["initcfg"] == "lr ×0.25, 1 tensor"
    torch.optim.AdamW(groups)
    torch.optim.lr_scheduler.LambdaLR(torch.optim.Adam(groups), lambda step: 0.5)


def test_frozen_parameters_are_left_out_and_tied_ones_stand_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[2].weight.requires_grad_(False)
    groups = initcfg.param_groups(model, initcfg.plan(model), lr=1.0)
    assert sorted(name for group in groups for name in group["names"]) == [
        "0.bias",
        "0.weight",
        "1.bias",
        "2.bias",
    ]


def test_what_is_refused() -> None:
    model = net(64)
    plan = mup_plan(model)
    with pytest.raises(PlanError, match="are for adamw, and sgd is asked for"):
        initcfg.param_groups(model, plan, lr=1.0, optimizer="sgd")
    with pytest.raises(PlanError, match="are for adamw, and adam is asked for"):
        initcfg.param_groups(model, plan, lr=1.0, optimizer="adam")
    with pytest.raises(PlanError, match="no such parameter"):
        initcfg.param_groups(nn.ModuleDict({"new": nn.Linear(2, 2)}), plan, lr=1.0)
    with pytest.raises(ArgumentValueError, match="lr is a finite number"):
        initcfg.param_groups(model, plan, lr=float("nan"))
    with pytest.raises(ArgumentValueError, match="optimizer is one of"):
        initcfg.param_groups(model, plan, lr=1.0, optimizer="lion")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="list of patterns"):
        initcfg.param_groups(model, plan, lr=1.0, no_decay="*.bias")


def test_muon_has_the_matrices_between() -> None:
    model = net(64)
    groups = initcfg.param_groups(model, mup_plan(model), lr=0.1, optimizer="muon")
    by_muon = [group for group in groups if group["use_muon"]]
    assert [group["names"] for group in by_muon] == [["2.weight"]]
    assert by_muon[0]["lr"] == 0.1
    rest = {name: group["lr"] for group in groups if not group["use_muon"] for name in group["names"]}
    assert rest["3.weight"] == 0.025 and rest["0.weight"] == 0.1


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    """A model that multiplies its branches and its logits in the forward pass."""

    def __init__(self, branch: float = 1.0, logits: float = 1.0) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 16)
        self.blocks = nn.ModuleList(Block(16) for _ in range(4))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 30, bias=False)
        self.branch, self.logits = branch, logits

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = x + self.branch * block(x)
        return self.logits * self.head(self.norm(x))


FOLDS = {
    "adamw": (torch.optim.AdamW, {"lr": "{c}", "eps": "1/{c}", "weight_decay": "1/{c}"}),
    "adam": (torch.optim.Adam, {"lr": "{c}", "eps": "1/{c}", "weight_decay": "1/{c}**2"}),
    "sgd": (torch.optim.SGD, {"lr": "{c}**2", "weight_decay": "1/{c}**2"}),
}


@pytest.mark.parametrize("optimizer", list(FOLDS))
def test_a_folded_factor_trains_as_one_in_forward(optimizer: str) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 30, (8, 12))
    multiplying = Net(1 / 3, 1 / 5).double()
    folded = copy.deepcopy(multiplying)
    folded.branch = folded.logits = 1.0
    with torch.no_grad():
        for block in folded.blocks:
            block.down.weight.mul_(1 / 3)
        folded.head.weight.mul_(1 / 5)
    cls, tune = FOLDS[optimizer]

    def rule(param: str, c: str) -> dict:
        return dict(
            param=param,
            tune={**{key: text.format(c=c) for key, text in tune.items()}, "optimizer": optimizer},
        )

    plan = initcfg.plan(folded, [rule("blocks.*.down.weight", "(1/3)"), rule("head.weight", "(1/5)")])
    numbers = dict(lr=1.0 if optimizer == "sgd" else 1e-2, weight_decay=0.1 if optimizer == "adamw" else 1e-3)
    groups = initcfg.param_groups(folded, plan, **numbers, eps=1e-3, optimizer=optimizer)  # type: ignore[arg-type]
    extra = {} if optimizer == "sgd" else {"eps": 1e-3}
    both = (multiplying, cls(multiplying.parameters(), **numbers, **extra)), (folded, cls(groups))
    losses: list[list[float]] = []
    for model, stepping in both:
        losses.append([])
        for _ in range(50):
            scores = model(tokens)
            loss = functional.cross_entropy(scores[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
            losses[-1].append(loss.item())
            stepping.zero_grad()
            loss.backward()
            stepping.step()
    assert losses[0][-1] < losses[0][0] - 0.2
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-12
    for name, weight in multiplying.named_parameters():
        factor = 1 / 3 if "down" in name else 1 / 5 if "head" in name else 1.0
        assert (weight * factor - folded.get_parameter(name)).abs().max() < 1e-12


def test_a_plan_of_another_width_is_refused() -> None:
    plan = mup_plan(net(64))
    with pytest.raises(PlanError, match=r"has shape \(32, 8\), and \(64, 8\) in the plan") as caught:
        initcfg.param_groups(net(32), plan, lr=0.1)
    assert caught.value.parameter == "0.weight"


def test_a_plan_of_a_deeper_model_is_refused() -> None:
    deeper = nn.Sequential(*net(64), nn.ReLU(), nn.Linear(4, 4))
    plan = initcfg.plan(deeper, dict(type="Normal", layer="Linear", std=0.02))
    with pytest.raises(PlanError, match="has 2 parameters that the model lacks") as caught:
        initcfg.param_groups(net(64), plan, lr=0.1)
    assert caught.value.parameter == f"{len(deeper) - 1}.weight"


def test_a_pattern_of_no_decay_that_matches_nothing_is_told() -> None:
    model = net(64)
    with pytest.raises(ArgumentValueError, match=r"no_decay: '\*\.bais' matches no parameter") as caught:
        initcfg.param_groups(model, mup_plan(model), lr=0.1, no_decay=["*.bais"])
    assert "0.bias" in caught.value.meant
