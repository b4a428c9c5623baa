"""Modules of libraries that initialize in their constructors keep their weights, by default."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg import BaseModule, Plan
from initcfg.compat import mmengine as compat
from initcfg.errors import ArgumentError, PatternError
from initcfg.values import Constant

NORMAL = dict(type="Constant", layer="Linear", val=3)


class Encoder(nn.Module):
    """As in a library: the constructor initializes, and a method does it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        nn.init.constant_(self.fc.weight, 42)

    def init_weights(self) -> None:
        nn.init.constant_(self.fc.weight, 1)


class Inner(Encoder):
    pass


class Pair(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()


for _cls in (Encoder, Inner, Pair):
    _cls.__module__ = "timm.models.encoder"


class Mine(Encoder):
    """A user's subclass, without a method of its own."""


class MineWithMethod(Encoder):
    def init_weights(self) -> None:
        nn.init.constant_(self.fc.weight, 8)


class Net(BaseModule):
    def __init__(self, backbone: nn.Module, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


class CompatNet(compat.BaseModule):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


@pytest.mark.parametrize("cls", [Encoder, Mine])
def test_it_keeps_its_weights_and_is_listed(cls: Any) -> None:
    model = Net(cls())
    plan = initcfg.plan(model)
    assert plan["backbone.fc.weight"].value.kind == "Keep"
    assert plan.uncalled == ("backbone",)
    assert plan.libraries == {"backbone": "timm"}
    line = "not called   backbone.init_weights(), since timm initializes in its constructors"
    assert line in str(plan)
    assert "backbone.init_weights(), since timm initializes" in plan.explain("backbone.fc.weight")
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert line in str(again)
    model.init_weights()
    assert model.backbone.fc.weight.unique().item() == 42


def test_a_users_own_method_is_called() -> None:
    plan = initcfg.plan(Net(MineWithMethod()))
    assert plan["backbone.fc.weight"].value == Constant(8)
    assert plan.uncalled == ()
    assert "model.backbone.init_weights() is called" in plan.notes[0]
    changed = Encoder()
    changed.init_weights = lambda: nn.init.constant_(changed.fc.weight, 6)
    assert initcfg.plan(Net(changed))["backbone.fc.weight"].value == Constant(6)


def test_rules_of_parents_reach_it_as_any_module() -> None:
    plan = initcfg.plan(Net(Encoder(), NORMAL))
    assert plan["backbone.fc.weight"].value == Constant(3)
    excluding = dict(NORMAL, exclude="backbone")
    assert initcfg.plan(Net(Encoder(), excluding))["backbone.fc.weight"].value.kind == "Keep"


def test_its_parts_are_not_listed_one_by_one() -> None:
    assert initcfg.plan(Net(Pair())).uncalled == ("backbone",)
    assert initcfg.plan(Net(nn.ModuleList([Pair()]))).uncalled == ("backbone.0",)


@pytest.mark.parametrize(
    "rule",
    [
        dict(type="InitWeights", name="backbone"),
        dict(type="InitWeights", layer="Encoder"),
        dict(type="InitWeights", name="back*"),
        dict(type="InitWeights", override=dict(name="backbone")),
    ],
)
def test_a_rule_asks_for_it(rule: Any) -> None:
    model = Net(Encoder(), rule)
    plan = initcfg.plan(model, strict=True)
    assert plan["backbone.fc.weight"].value == Constant(1)
    assert plan["backbone.fc.weight"].rule.startswith("model.init_cfg")
    assert plan["backbone.fc.bias"].value.kind == "Keep"
    assert plan["head.weight"].value.kind == "Keep"
    assert plan.uncalled == ()
    model.init_weights()
    assert model.backbone.fc.weight.unique().item() == 1
    assert initcfg.plan(Net(Encoder()), rule)["backbone.fc.weight"].rule.startswith("init_cfg")


def test_a_rule_that_asks_for_nothing() -> None:
    with pytest.raises(PatternError, match="name='spine' names no module that has an init_weights"):
        initcfg.plan(Net(Encoder()), dict(type="InitWeights", name="spine"))
    with pytest.raises(PatternError, match="exclude='head' matches nothing"):
        initcfg.plan(Net(Encoder()), dict(type="InitWeights", name="back*", exclude="head"))
    with pytest.raises(PatternError, match="it takes name, layer and exclude"):
        initcfg.plan(Net(Encoder()), dict(type="InitWeights", param="*.weight"))
    [unused] = initcfg.plan(Net(Encoder()), dict(type="InitWeights", layer="Conv2d")).unused
    assert unused.reason == "no module that it means has an init_weights()"


def test_compat_calls_it_and_says_what_it_wrote_over(caplog: pytest.LogCaptureFixture) -> None:
    model = Net(Encoder())
    plan = initcfg.plan(model, compat="mmengine")
    assert plan["backbone.fc.weight"].value == Constant(1)
    assert plan.uncalled == ()
    note = (
        "model.backbone.init_weights() is called, as MMEngine does, and writes over 1 tensor that timm's "
        "constructors, or a checkpoint, gave"
    )
    assert plan.notes == (note,)
    with caplog.at_level(logging.WARNING, "initcfg"):
        plan.apply(model, seed=0)
        assert not caplog.records
        direct = CompatNet(Encoder())
        direct.init_weights()
    assert direct.backbone.fc.weight.unique().item() == 1
    assert [record.getMessage() for record in caplog.records] == [f"{note}."]


def test_a_plain_root_with_rules_set_on_it_runs_them() -> None:
    model = Encoder()
    model.init_cfg = NORMAL
    assert initcfg.plan(model)["fc.weight"].value == Constant(3)
    assert initcfg.plan(model).unused == ()


def test_users_extend_the_list() -> None:
    class Own(Encoder):
        def init_weights(self) -> None:
            nn.init.constant_(self.fc.weight, 5)

    Own.__module__ = "company_of_tests.models.encoder"
    assert initcfg.plan(Net(Own()))["backbone.fc.weight"].value == Constant(5)
    initcfg.register_library("company_of_tests.models")
    plan = initcfg.plan(Net(Own()))
    assert plan["backbone.fc.weight"].value.kind == "Keep"
    assert plan.libraries == {"backbone": "company_of_tests.models"}
    Own.__module__ = "company_of_tests.others"
    assert initcfg.plan(Net(Own()))["backbone.fc.weight"].value == Constant(5)
    for wrong in ("not a name", "a..b", None):
        with pytest.raises(ArgumentError, match="A library is given by its import name"):
            initcfg.register_library(wrong)  # type: ignore[arg-type]


def test_the_differences_to_the_original_are_explained() -> None:
    model = Net(Encoder())
    [found] = initcfg.differences(initcfg.plan(model), initcfg.plan(model, compat="mmengine"))
    assert (found.name, found.kind) == ("backbone.fc.weight", "library")
    assert found.reason == "MMEngine calls backbone.init_weights(), which is left to timm's constructors here"
    assert torch.equal(model.backbone.fc.weight, torch.full((2, 2), 42.0))
