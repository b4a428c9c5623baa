"""The order of the original: who beats whom."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg import BaseModule, ModuleList, Sequential
from initcfg.values import Constant

CONSTANT_1 = dict(type="Constant", layer="Linear", val=1, bias=1)
CONSTANT_2 = dict(type="Constant", layer="Linear", val=2, bias=2)
CONSTANT_3 = dict(type="Constant", layer="Linear", val=3, bias=3)


class Leaf(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 2)


class Branch(BaseModule):
    def __init__(self, child, init_cfg=None):
        super().__init__(init_cfg)
        self.child = child
        self.own = nn.Linear(2, 2)


class Hand(Leaf):
    """Its own ``init_weights``, which sets the bias alone, after its rules or before them."""

    def init_weights(self):
        super().init_weights()
        nn.init.constant_(self.linear.bias, 7)


class HandFirst(Leaf):
    def init_weights(self):
        nn.init.constant_(self.linear.bias, 7)
        super().init_weights()


class HandAlone(Leaf):
    def init_weights(self):
        nn.init.constant_(self.linear.bias, 7)


def value(plan, name):
    return plan[name].value.args["val"]


def test_child_beats_parent_and_parent_reaches_the_rest():
    plan = initcfg.plan(Branch(Leaf(CONSTANT_2), CONSTANT_1))
    assert value(plan, "child.linear.weight") == 2
    assert value(plan, "own.weight") == 1
    assert [each.rule for each in plan["child.linear.weight"].shadowed] == ["model.init_cfg"]


def test_later_entry_beats_earlier():
    plan = initcfg.plan(Leaf([CONSTANT_1, CONSTANT_2]))
    assert value(plan, "linear.weight") == 2
    assert plan["linear.weight"].rule == "model.init_cfg[1]"
    assert plan["linear.weight"].shadowed[0].rule == "model.init_cfg[0]"


def test_outer_init_cfg_is_an_outer_parent():
    plan = initcfg.plan(Branch(Leaf(CONSTANT_2)), CONSTANT_3)
    assert value(plan, "child.linear.weight") == 2
    assert value(plan, "own.weight") == 3


def test_override_beats_its_rule_and_child_beats_override():
    cfg = dict(type="Constant", layer="Linear", val=1, override=dict(type="Constant", name="child", val=9))
    assert value(initcfg.plan(Branch(Leaf(), cfg)), "child.linear.weight") == 9
    assert value(initcfg.plan(Branch(Leaf(CONSTANT_2), cfg)), "child.linear.weight") == 2


def test_override_by_property_and_in_a_list():
    class Block(BaseModule):
        def __init__(self):
            super().__init__(
                dict(
                    type="Constant",
                    val=0,
                    override=[dict(name="norm2"), dict(type="Constant", name="fc", val=5)],
                )
            )
            self.bn1, self.bn2, self.fc = nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Linear(2, 2)

        @property
        def norm2(self):
            return self.bn2

    plan = initcfg.plan(Block())
    assert value(plan, "bn2.weight") == 0
    assert value(plan, "fc.weight") == 5
    assert plan["bn1.weight"].value.kind == "Keep"
    assert plan["bn2.weight"].rule == "model.init_cfg.override[0]"
    assert plan["fc.weight"].rule == "model.init_cfg.override[1]"


def test_typed_override_inherits_nothing():
    cfg = dict(
        type="Constant", layer="Linear", val=1, bias=2, override=dict(type="Constant", name="own", val=3)
    )
    plan = initcfg.plan(Branch(Leaf(), cfg))
    assert value(plan, "own.weight") == 3
    assert value(plan, "own.bias") == 0


def test_pretrained_beats_children(tmp_path):
    torch.save({"child.linear.weight": torch.full((2, 2), 5.0)}, tmp_path / "a.pth")
    model = Branch(
        Leaf(CONSTANT_2), [dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth")), CONSTANT_1]
    )
    plan = initcfg.plan(model)
    assert plan["child.linear.weight"].value.kind == "FromCheckpoint"
    assert value(plan, "child.linear.bias") == 2
    plan.apply(model)
    assert model.child.linear.weight.tolist() == [[5.0, 5.0], [5.0, 5.0]]
    assert model.own.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("container", [nn.Sequential, nn.ModuleList])
def test_plain_container_is_reached_by_default_alone(container):
    inner = Leaf(CONSTANT_2)
    model = Branch(container(inner) if container is nn.Sequential else container([inner]), CONSTANT_1)
    plan = initcfg.plan(model)
    assert value(plan, "child.0.linear.weight") == 2
    assert plan.nested == ("child.0",)
    exact = initcfg.plan(model, compat="mmengine")
    assert value(exact, "child.0.linear.weight") == 1


def test_sequential_and_module_list_carry_rules():
    model = Branch(Sequential(nn.Linear(2, 2), init_cfg=CONSTANT_2))
    assert value(initcfg.plan(model), "child.0.weight") == 2
    model = Branch(ModuleList([nn.Linear(2, 2)], init_cfg=CONSTANT_3))
    assert value(initcfg.plan(model), "child.0.weight") == 3
    with pytest.raises(TypeError):
        Sequential(nn.Linear(2, 2), CONSTANT_2)


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize(
    ("cls", "bias", "by", "weight"),
    [(Hand, 7, "code", 2), (HandFirst, 2, "rule", 2), (HandAlone, 7, "code", 1)],
)
def test_own_method_beats_the_parents_rules(cls, bias, by, weight, rng):
    model = Branch(cls(CONSTANT_2), CONSTANT_1)
    plan = initcfg.plan(model)
    assert plan["child.linear.weight"].value == Constant(weight)
    assert plan["child.linear.bias"].value == Constant(bias)
    ledger = plan.apply(model, rng=rng)
    assert model.child.linear.bias.tolist() == [bias, bias]
    assert model.child.linear.weight.tolist() == [[weight] * 2] * 2
    assert ledger["child.linear.bias"].by == by
    assert ledger["child.linear.weight"].by == "rule"
    if by == "code":
        assert ledger["child.linear.bias"].operations == ("aten.fill_",)


def test_uncalled_methods_are_listed():
    plan = initcfg.plan(Branch(nn.ModuleList([Hand(CONSTANT_2)]), CONSTANT_1))
    assert plan.uncalled == ("child.0",)
    assert value(plan, "child.0.linear.weight") == 2


def test_second_call_warns_and_does_nothing(caplog):
    model = Leaf(CONSTANT_1)
    model.init_weights()
    nn.init.constant_(model.linear.weight, 4)
    assert not caplog.records
    model.init_weights()
    assert "more than once" in caplog.text
    assert model.linear.weight[0, 0] == 4


def test_initialized_child_is_skipped_and_parents_rules_still_reach_it():
    model = Branch(Leaf(CONSTANT_2), CONSTANT_1)
    model.child.init_weights()
    model.init_weights()
    assert model.child.linear.weight[0, 0] == 1


def test_root_method_runs_and_its_base_comes_back():
    model = Hand(CONSTANT_2)
    ledger = initcfg.init_weights(model)
    assert model.linear.weight[0, 0] == 2
    assert model.linear.bias[0] == 7
    assert ledger["linear.weight"].by == "rule"
    other = Hand(CONSTANT_2)
    other.init_weights()
    assert other.linear.bias[0] == 7
    assert other.is_init


def test_foreign_init_weights_of_a_plain_root_is_left_alone():
    class Timm(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self, mode):
            raise AssertionError("called")

    model = Timm()
    initcfg.init_weights(model, CONSTANT_1)
    assert model.fc.weight[0, 0] == 1
    initcfg.init_weights(nn.Sequential(model), CONSTANT_2)
    assert model.fc.weight[0, 0] == 2


def test_compat_calls_any_init_weights_of_a_direct_child():
    class Duck(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self):
            nn.init.constant_(self.fc.weight, 8)

    model = Branch(Duck(), CONSTANT_1)
    ledger = initcfg.init_weights(model, compat="mmengine", rng="torch")
    assert model.child.fc.weight[0, 0] == 8
    assert ledger["child.fc.weight"].by == "code"
    assert ledger["child.fc.bias"].by == "rule"


def test_rule_without_selection_initializes_nothing():
    plan = initcfg.plan(Leaf(dict(type="Constant", val=1)))
    assert {item.value.kind for item in plan.values()} == {"Keep"}
    assert "initializes nothing" in plan.unused[0].reason


def test_tied_weights_last_child_wins_and_have_one_name():
    class Tied(BaseModule):
        def __init__(self):
            super().__init__()
            self.b = Leaf(CONSTANT_1)
            self.a = Leaf(CONSTANT_2)
            self.a.linear.weight = self.b.linear.weight

    plan = initcfg.plan(Tied())
    assert plan.aliases == {"b.linear.weight": "a.linear.weight"}
    assert list(plan) == ["a.linear.weight", "b.linear.bias", "a.linear.bias"]
    assert value(plan, "b.linear.weight") == 2


def test_initialize_keeps_list_order_and_ignores_nested_rules(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pth")
    model = Leaf(CONSTANT_2)
    initcfg.initialize(model, CONSTANT_1)
    assert model.linear.weight[0, 0] == 1
    assert not model.is_init
    pretrained = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"))
    initcfg.initialize(model.linear, [pretrained, CONSTANT_3])
    assert model.linear.weight[0, 0] == 3


def test_deepcopied_init_cfg_of_the_constructor_may_be_replaced_later():
    shared = dict(CONSTANT_1)
    model = Leaf(shared)
    shared["val"] = 5
    assert value(initcfg.plan(model), "linear.weight") == 1
    model.init_cfg = (CONSTANT_2,)
    assert value(initcfg.plan(model), "linear.weight") == 2
    assert "init_cfg=" in repr(model)


def test_configs_are_never_changed():
    cfg = dict(type="Constant", layer="Linear", val=1, override=dict(name="own"))
    before = repr(cfg)
    initcfg.plan(Branch(Leaf(), cfg), cfg)
    assert repr(cfg) == before


def test_regular_expressions_keep_their_flags_and_references():
    model = nn.ModuleDict({"ab_ab": nn.Linear(2, 2), "ab_cd": nn.Linear(2, 2), "Head": nn.Linear(2, 2)})
    rules = [
        dict(type="Constant", val=1, name="re:(..)_\\1"),
        dict(type="Constant", val=2, name="re:(?i)head"),
        dict(type="Constant", val=3, name="*_cd"),
    ]
    plan = initcfg.plan(model, rules)
    assert [value(plan, f"{name}.weight") for name in ("ab_ab", "Head", "ab_cd")] == [1, 2, 3]
