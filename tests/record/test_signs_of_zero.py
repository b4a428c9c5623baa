"""The sign of a zero is one of the bits that code writes: 1/x tells it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import initcfg


class Zeros(nn.Module):
    def __init__(self, write: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.register_buffer("table", torch.zeros(4))
        with torch.no_grad():
            for each in (self.weight, self.table):
                write(each)


def _half(tensor: torch.Tensor) -> None:
    tensor[2:] = -0.0


WRITES: dict[str, Callable[[torch.Tensor], object]] = {
    "fill": lambda tensor: tensor.fill_(-0.0),
    "twice": lambda tensor: tensor.fill_(-0.0).fill_(-0.0),
    "back": lambda tensor: tensor.fill_(-0.0).zero_(),
    "init": lambda tensor: nn.init.constant_(tensor, -0.0),
    "copy": lambda tensor: tensor.copy_(torch.full((4,), -0.0)),
    "product": lambda tensor: tensor.mul_(-1.0),
    "negative": lambda tensor: tensor.neg_(),
    "half": _half,
    "sum": lambda tensor: tensor.fill_(-0.0).add_(0.0),
}


@pytest.mark.parametrize("way", ["deferred", "trace"])
@pytest.mark.parametrize("name", WRITES)
def test_the_sign_is_that_of_the_code(name: str, way: str) -> None:
    def build() -> Zeros:
        return Zeros(WRITES[name])

    if way == "trace":
        plan, model = initcfg.trace(build), build()
    else:
        with initcfg.deferred():
            model = build()
        plan = initcfg.plan(model)
    plan.apply(model, seed=0)
    for key, real in build().state_dict().items():
        assert torch.equal(model.state_dict()[key].view(torch.int32), real.view(torch.int32)), key


def test_plans_that_differ_in_a_sign_differ() -> None:
    rules = [dict(type="Constant", layer="Linear", val=val) for val in (0.0, -0.0)]
    plus, minus = (initcfg.plan(nn.Linear(2, 2), rule) for rule in rules)
    assert plus.digest != minus.digest
    assert set(plus.diff(minus)) == {"weight"}
