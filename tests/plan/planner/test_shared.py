"""One module in two places, one tensor under two names: what random trees have found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg import BaseModule, ModuleList


class Part(BaseModule):
    """A module with one layer and whatever else is given."""

    def __init__(self, init_cfg=None, **modules):
        super().__init__(init_cfg)
        self.layer = nn.Linear(2, 2)
        for name, module in modules.items():
            self.add_module(name, module)


class Hand(Part):
    def init_weights(self):
        super().init_weights()
        nn.init.constant_(self.layer.bias, 7)


class Alone(Part):
    def init_weights(self):
        nn.init.constant_(self.layer.bias, 8)


ONE = dict(type="Constant", layer="Linear", val=1)


def test_a_method_is_one_step_by_however_many_names_it_meets_a_tensor(without_rehearsal):
    layer = nn.Linear(2, 2)
    model = Part(hand=Hand(first=layer, second=nn.Sequential(layer)))
    for compat in (None, "mmengine"):
        plan = initcfg.plan(model, compat=compat)
        assert plan["hand.first.weight"].shadowed == ()
        assert str(plan["hand.first.weight"].value).count("Opaque") == 1


def test_the_later_of_two_layers_with_one_tensor_wins_within_a_rule():
    model = nn.Sequential(
        nn.Conv2d(8, 4, 3, groups=2), nn.ConvTranspose2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3)
    )
    model[1].weight = model[2].weight = model[0].weight
    plan = initcfg.plan(model, dict(type="Kaiming", layer="_ConvNd", mode="fan_out"))
    assert plan["0.weight"].value.args["std"] == pytest.approx((2 / 36) ** 0.5)
    assert plan["0.weight"].shadowed == ()
    assert plan["0.weight"].layout.transposed


def test_the_layout_is_that_of_the_rule_that_wins():
    class Up(BaseModule):
        def __init__(self):
            super().__init__(dict(type="Kaiming", layer="ConvTranspose2d"))
            self.conv = nn.ConvTranspose2d(4, 4, 3)

    class Model(BaseModule):
        def __init__(self):
            super().__init__(dict(type="Kaiming", layer="Conv2d"))
            self.up = Up()
            self.down = nn.Conv2d(8, 4, 3, groups=2)
            self.down.weight = self.up.conv.weight

    plan = initcfg.plan(Model())
    assert plan["down.weight"].rule == "model.up.init_cfg"
    assert plan["down.weight"].layout.transposed
    assert "fan_out 36" in plan.explain("down.weight")


def test_a_method_that_is_called_in_one_place_is_not_listed_as_uncalled_in_another():
    hand = Hand(ONE)
    for first, second in ((nn.ModuleList([hand]), hand), (hand, nn.ModuleList([hand]))):
        plan = initcfg.plan(Part(first=first, second=second))
        assert plan.uncalled == ()
        assert plan.nested == ()
    model = Part(first=nn.ModuleList([hand]), second=hand)
    initcfg.init_weights(model)
    assert hand.layer.bias.tolist() == [7, 7]
    assert hand.layer.weight.eq(1).all()


def test_what_the_original_calls_is_called_also_where_a_plain_container_comes_first():
    # The method stands inside of a module that is first met where the original does not look.
    for compat in (None, "mmengine"):
        shared = Part(ONE, hand=Alone())
        model = Part(plain=nn.ModuleList([shared]), direct=shared)
        initcfg.init_weights(model, compat=compat)
        assert shared.hand.layer.bias.tolist() == [8, 8]
        assert shared.hand.layer.weight.eq(1).all()


def test_patterns_count_from_the_owner_whatever_name_it_is_met_under():
    rule = dict(type="Constant", val=3, name="layer", exclude="layer.bias")
    shared = Part(rule)
    model = nn.ModuleDict(dict(zz=Alone(inside=shared), container_with_a_long_name=nn.ModuleList([shared])))
    plan = initcfg.plan(model)
    name = "container_with_a_long_name.0.layer.weight"
    assert plan[name].value.args["val"] == 3
    assert plan["zz.inside.layer.weight"] is plan[name]


def test_a_method_below_another_ones_subtree_can_be_found_when_it_runs():
    hand = Hand(ONE)
    model = Part(first=Alone(inside=hand), second=hand)
    initcfg.init_weights(model)
    assert hand.layer.bias.tolist() == [7, 7]
    assert hand.layer.weight.eq(1).all()
    other = Part(first=Alone(inside=hand), second=ModuleList([hand]))
    initcfg.init_weights(other, compat="mmengine", rng="torch")
    assert hand.is_init


def test_a_shared_module_under_one_rule_is_one_write_by_default_and_two_draws_as_the_original():
    layer = nn.Linear(2, 2)
    model = Part(dict(type="Normal", layer="Linear"), a=layer, b=nn.Sequential(layer))
    assert initcfg.plan(model)["a.weight"].shadowed == ()
    exact = initcfg.plan(model, compat="mmengine")
    assert [each.rule for each in exact["a.weight"].shadowed] == ["model.init_cfg"]
    torch.manual_seed(4)
    exact.apply(model, rng="torch")
    torch.manual_seed(4)
    draws = [torch.empty(2, 2).normal_() for _ in range(3)]
    assert torch.equal(layer.weight, draws[2])
    assert torch.equal(model.layer.weight, draws[0])
