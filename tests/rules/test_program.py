"""Rules that the original never runs."""

from __future__ import annotations

import pytest
from torch import nn

import initcfg
from initcfg import errors


def test_a_rule_of_a_library_that_cannot_be_carried_out_where_the_original_skips_it():
    class BaseModule(nn.Module):
        """As a library's copy of the original."""

        def __init__(self, init_cfg):
            super().__init__()
            self.init_cfg, self.linear = init_cfg, nn.Linear(2, 2)

        def init_weights(self):
            raise NotImplementedError

    class Copied(BaseModule):
        pass

    class Own(initcfg.BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.linear = nn.Linear(2, 2)

    wrong = dict(type="Constant", val=1, override=dict(name="nope"))
    right = dict(type="Constant", val=2, layer="Linear")
    model = nn.Sequential(nn.Sequential(Copied([wrong, right])))
    plan = initcfg.plan(model)
    assert plan["0.0.linear.weight"].value.val == 2
    assert [item.rule for item in plan.unused] == ["model.0.0.init_cfg[0]"]
    assert plan.unused[0].reason == (
        "its library never runs it, and it cannot be: The override names 'nope', but a Copied has no such "
        "attribute"
    )
    with pytest.raises(errors.UnusedRuleError, match="and it cannot be"):
        initcfg.plan(model, strict=True)
    with pytest.raises(errors.OverrideError, match="'nope'"):
        initcfg.plan(nn.Sequential(nn.Sequential(Own(wrong))))
