"""Planning leaves model and program as they were: the same program can be planned again."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from initcfg import BaseModule, Plan
from initcfg._plan.planner import make_plan
from initcfg._rules import Compiler, Program


class Hand(BaseModule):
    def __init__(self):
        super().__init__(dict(type="Constant", layer="Linear", val=3))
        self.fc = nn.Linear(2, 2)

    def init_weights(self):
        super().init_weights()
        nn.init.constant_(self.fc.bias, 7)


class Model(BaseModule):
    """A child with code of its own, one module under two names, and rules of every kind."""

    def __init__(self):
        super().__init__(
            [
                dict(
                    type="Constant", layer="Linear", val=1, override=dict(type="Constant", name="own", val=2)
                ),
                dict(type="Normal", name="left", std=0.1, exclude="left.bias"),
                dict(type="Constant", param="scale", val=5),
                dict(type="Constant", layer="Conv2d", val=0),
                dict(type="Pretrained", checkpoint={"own.bias": torch.ones(2)}),
            ]
        )
        self.own = nn.Linear(2, 2)
        self.left = self.right = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.zeros(2))
        self.hand = Hand()


def planned(model: nn.Module, program: Program, compat: bool) -> Plan:
    return make_plan(model, program, compat=compat)


@pytest.mark.parametrize("compat", [False, True])
def test_a_program_is_planned_twice_with_the_same_result(compat):
    model = Model() if not compat else Hand()
    program = Compiler(model, compat=compat).run(None)
    before = [dict(vars(step)) for step in program.steps]
    first, second = (planned(model, program, compat) for _ in range(2))
    assert first == second
    assert first.digest == second.digest
    assert first.tape == second.tape
    assert [item.rule for item in first.unused] == [item.rule for item in second.unused]
    assert before == [vars(step) for step in program.steps]


def test_what_is_planned_again_says_what_no_rule_reaches():
    program = Compiler(model := Model(), compat=False).run(None)
    for _ in range(2):
        plan = planned(model, program, compat=False)
        assert plan["own.weight"].value.args == {"val": 2.0}
        assert [item.rule for item in plan.unused] == ["model.init_cfg[3]"]
        assert [load.loaded for load in plan.loads] == [1]


def test_a_step_cannot_be_changed():
    program = Compiler(Hand(), compat=False).run(None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        program.steps[0].order = 5  # type: ignore[misc]
