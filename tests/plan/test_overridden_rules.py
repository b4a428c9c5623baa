"""Rules all of whose writes later ones of their list write over: a remark of the plan, in text and pages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initcfg


class _Headed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.head = nn.Sequential(nn.Linear(3, 2))


ALL = dict(type="Normal", layer="Linear")
HEAD = dict(type="Normal", name="head")
CLASSES = dict(type="Normal", name="head.0", bias_prob=0.01)
STATE = {name: torch.ones(shape) for name, shape in (("head.0.weight", (2, 3)), ("head.0.bias", (2,)))}


def test_it_is_named_and_what_writes_over_it():
    plan = initcfg.plan(_Headed(), [CLASSES, HEAD], strict=True)
    assert "overridden   init_cfg[0]: all that it writes is written over by init_cfg[1]." in str(plan)
    assert "dict(type='Normal', name='head.0', bias_prob=0.01)" in str(plan)
    assert "written over by init_cfg[1]" in plan.to_html()
    assert "都被 init_cfg[1] 覆盖" in plan.to_html(lang="zh")
    assert "overridden" in str(initcfg.Plan.from_json(plan.to_json()))


@pytest.mark.parametrize(
    "rules",
    [
        [HEAD, dict(type="Normal", layer="Linear", bias=None)],
        [ALL, CLASSES],
        [HEAD, dict(type="Pretrained", checkpoint=STATE)],
        [dict(ALL, tune=dict(lr=0.5)), dict(type="Constant", layer="Linear", val=1)],
    ],
    ids=["biases stay", "others stay", "a checkpoint", "what the optimizer is told stays"],
)
def test_one_that_leaves_something_is_not(rules: list[dict[str, Any]]):
    assert "overridden" not in str(initcfg.plan(_Headed(), rules))


def test_of_many_a_few_are_named():
    rules = [dict(type="Constant", name="head", val=n) for n in range(20)]
    said = str(initcfg.plan(_Headed(), rules))
    assert "overridden   init_cfg[0]: all that it writes is written over by init_cfg[19]." in said
    assert "more" in said and "init_cfg[18]:" not in said
