"""Rules that a model's own code calls for, and then writes over: they reached, and are told so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg.values import Constant

RULES = [dict(type="Constant", layer="Linear", val=3), dict(type="Constant", layer="Linear", val=4)]


class Over(initcfg.BaseModule):
    def __init__(self, code, init_cfg):
        super().__init__(init_cfg)
        self.fc = nn.Linear(4, 3)
        self.code = code

    def init_weights(self):
        super().init_weights()
        self.code(self.fc)


class Plain(nn.Module):
    def __init__(self, code):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.code = code

    def init_weights(self):
        self.code(self.fc)


def assign_data(fc):
    fc.weight.data = torch.ones(3, 4)


def new_parameter(fc):
    fc.weight = nn.Parameter(torch.ones(3, 4))


def in_place(fc):
    nn.init.ones_(fc.weight)


def through_numpy(fc):
    fc.weight.detach().numpy()[:] = 1


def through_dlpack(fc):
    torch.from_dlpack(fc.weight.detach()).fill_(1)


def memory_of_numpy(fc):
    fc.weight.data = torch.from_numpy(np.ones((3, 4), "float32"))


WAYS = [assign_data, new_parameter, in_place, through_numpy, through_dlpack, memory_of_numpy]


@pytest.mark.parametrize("compat", [None, "mmengine"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_rule_is_among_those_that_reach(way, compat):
    plan = initcfg.plan(Over(way, RULES), compat=compat)
    shadowed = plan["fc.weight"].shadowed
    assert [(each.rule, each.value) for each in shadowed] == [
        ("model.init_cfg[0]", Constant(3.0)),
        ("model.init_cfg[1]", Constant(4.0)),
    ]
    told = plan.explain("fc.weight")
    assert "do not reach it" not in told
    assert "→ Constant(4)   overridden: its module's own init_weights writes it after that" in told
    assert "  3. model.init_weights\n" in told
    back = initcfg.Plan.from_json(plan.to_json())
    assert back["fc.weight"].shadowed == shadowed


def test_the_rule_that_wins_is_told_once():
    plan = initcfg.plan(Over(lambda fc: None, RULES))
    assert plan["fc.weight"].rule == "model.init_cfg[1]"
    assert [each.rule for each in plan["fc.weight"].shadowed] == ["model.init_cfg[0]"]


@pytest.mark.parametrize("compat", [None, "mmengine"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_has_no_value_has_a_reason(way, compat):
    model = initcfg.Sequential(Plain(way))
    plan = initcfg.plan(model, compat=compat)
    item = plan["0.fc.weight"]
    if way in (through_numpy, through_dlpack):
        assert item.value.code.endswith(": its memory was handed out (numpy(), data_ptr() or apply_())")
    else:
        assert item.value == Constant(1.0)
    assert "None" not in plan.explain("0.fc.weight") + str(plan)
    assert "?" not in plan.explain("0.fc.weight")
    plan.apply(model, seed=0)
    assert torch.equal(model[0].fc.weight, torch.ones(3, 4))
