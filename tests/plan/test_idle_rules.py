"""Rules that somebody wrote and that never run: said, with the reason; wrong ones are errors as elsewhere."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg import BaseModule, ModuleList, Plan
from initcfg.errors import (
    UnknownInitializerError,
    UnknownLayerError,
    UnusedRuleError,
)
from initcfg.values import Constant

FIVE = dict(type="Constant", layer="Linear", val=5)
ONES = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)}
INSTEAD = "takes its place, and does not call super().init_weights()"


class Leaf(BaseModule):
    def __init__(self, init_cfg: Any = None, **parts: nn.Module) -> None:
        super().__init__(init_cfg)
        self.fc = nn.Linear(2, 2)
        for name, part in parts.items():
            self.add_module(name, part)


class Alone(Leaf):
    def init_weights(self) -> None:
        nn.init.constant_(self.fc.weight, 9)


class OnlyIfPretrained(Alone):
    def init_weights(self) -> None:
        if isinstance(self.init_cfg, dict) and self.init_cfg["type"] == "Pretrained":
            super(Alone, self).init_weights()
        else:
            super().init_weights()


class Hand(Leaf):
    def init_weights(self) -> None:
        super().init_weights()
        nn.init.constant_(self.fc.bias, 7)


def reasons(plan: Plan) -> dict[str, str]:
    return {each.rule: each.reason for each in plan.unused}


@pytest.mark.parametrize("compat", [None, "mmengine"])
@pytest.mark.parametrize("cfg", [FIVE, dict(type="Pretrained", checkpoint=ONES)])
def test_a_method_that_does_not_call_its_base(cfg: Any, compat: str | None) -> None:
    plan = initcfg.plan(Leaf(x=Alone(cfg)), compat=compat)
    assert plan["x.fc.weight"].value == Constant(9)
    assert plan["x.fc.bias"].value.kind == "Keep"
    [(rule, reason)] = reasons(plan).items()
    assert rule == "model.x.init_cfg"
    assert reason.startswith("Alone.init_weights (test_idle_rules.py:")
    assert reason.endswith(INSTEAD)
    assert plan.rules["model.x.init_cfg"].written
    assert INSTEAD in plan.explain("x.fc.bias")
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(UnusedRuleError, match="1 rule reached nothing") as caught:
        initcfg.plan(Leaf(x=Alone(cfg)), compat=compat, strict=True)
    assert INSTEAD in str(caught.value)


def test_the_root_itself_and_the_entries_of_a_list() -> None:
    plan = initcfg.plan(Alone([FIVE, dict(type="Pretrained", checkpoint=ONES)]))
    assert list(reasons(plan)) == ["model.init_cfg[0]", "model.init_cfg[1]"]


def test_what_lies_below_such_a_method() -> None:
    model = Leaf(x=Alone(None, inner=Leaf(FIVE), plain=nn.Sequential(Leaf(FIVE))))
    found = reasons(initcfg.plan(model))
    assert list(found) == ["model.x.inner.init_cfg", "model.x.plain.0.init_cfg"]
    for reason in found.values():
        assert reason.endswith(" of x, in which it lies, does not call the init_weights() of its module")


def test_a_method_that_calls_its_base_under_a_condition() -> None:
    plan = initcfg.plan(Leaf(x=OnlyIfPretrained(dict(type="Pretrained", checkpoint=ONES))), strict=True)
    assert plan.unused == ()
    assert plan["x.fc.weight"].value.kind == "FromCheckpoint"
    assert list(reasons(initcfg.plan(Leaf(x=OnlyIfPretrained(FIVE))))) == ["model.x.init_cfg"]


def test_a_method_that_calls_its_base_has_nothing_to_say() -> None:
    plan = initcfg.plan(Leaf(x=Hand(FIVE, inner=Leaf(FIVE))), strict=True)
    assert plan.unused == ()
    assert plan["x.inner.fc.weight"].rule == "model.x.inner.init_cfg"


def test_the_innermost_method_is_the_reason() -> None:
    found = reasons(initcfg.plan(Leaf(x=Hand(FIVE, inner=Alone(FIVE)))))
    assert list(found) == ["model.x.inner.init_cfg"]
    assert found["model.x.inner.init_cfg"].endswith(INSTEAD)


def test_a_rule_that_code_runs_and_that_reaches_nothing_is_said() -> None:
    plan = initcfg.plan(Leaf(x=Hand(dict(type="Constant", layer="Conv3d", val=1))))
    assert reasons(plan) == {"model.x.init_cfg": "there is no Conv3d at or below x"}


def test_what_a_part_lists_has_the_names_of_the_whole_model() -> None:
    plan = initcfg.plan(Leaf(x=Hand(None, heads=nn.ModuleList([Hand(FIVE)]))))
    assert plan.nested == ("x.heads.0",)
    assert plan.uncalled == ("x.heads.0",)


@pytest.mark.parametrize("cls", [Alone, OnlyIfPretrained])
@pytest.mark.parametrize(
    ("cfg", "error"),
    [
        (dict(type="Constant", layer="Linaer", val=5), UnknownLayerError),
        (dict(type="Nonsense"), UnknownInitializerError),
    ],
)
def test_a_wrong_rule_is_an_error_also_where_it_does_not_run(cls: Any, cfg: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        initcfg.plan(Leaf(x=cls(cfg)))
    assert caught.value.where.startswith("model.x.init_cfg")
    done = Leaf(cfg)
    done.is_init = True
    with pytest.raises(error):
        initcfg.plan(Leaf(x=done))
    # The original does not read it.
    plan = initcfg.plan(Leaf(x=cls(cfg)), compat="mmengine")
    assert "model.x.init_cfg" in reasons(plan)


def test_an_override_of_what_is_not_there_is_said() -> None:
    # Heads of mmdet inherit such init_cfgs, and replace init_weights().
    [unused] = initcfg.plan(Leaf(x=Alone(dict(type="Constant", val=1, override=dict(name="gone"))))).unused
    assert unused.reason.endswith(f"{INSTEAD}; its override names 'gone', which is no attribute there")


def test_what_other_code_keeps_under_that_name_is_its_own_affair() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.init_cfg = nn.Linear(2, 2), {"std": 0.5}

        def init_weights(self) -> None:
            nn.init.normal_(self.fc.weight, std=self.init_cfg["std"])

    plan = initcfg.plan(Leaf(x=Other()))
    assert str(plan["x.fc.weight"].value) == "Normal(mean=0, std=0.5)"
    assert plan.unused == ()


@pytest.mark.parametrize("compat", [None, "mmengine"])
def test_modules_that_are_initialized_already(compat: str | None) -> None:
    done = Leaf(FIVE, inner=Leaf(FIVE))
    done.is_init = True
    model = Leaf(x=done)
    plan = initcfg.plan(model, compat=compat)
    assert reasons(plan) == {
        "model.x.init_cfg": "its module was initialized before (is_init=True)",
        "model.x.inner.init_cfg": "x, in which it lies, was initialized before (is_init=True)",
    }
    assert "its module was initialized before (is_init=True)" in plan.explain("x.fc.weight")
    with pytest.raises(UnusedRuleError, match="2 rules reached nothing"):
        initcfg.plan(model, compat=compat, strict=True)
    before = done.fc.weight.clone()
    plan.apply(model, seed=0)
    assert torch.equal(done.fc.weight, before)
    for module in (model, done, done.inner):
        module.is_init = False
    assert initcfg.plan(model, compat=compat).unused == ()


@pytest.mark.parametrize("compat", [None, "mmengine"])
def test_a_root_that_is_initialized_already(compat: str | None, caplog: pytest.LogCaptureFixture) -> None:
    model = Leaf(FIVE, x=Leaf(FIVE))
    initcfg.init_weights(model, compat=compat)
    assert not caplog.records
    nn.init.constant_(model.fc.weight, 4)
    plan = initcfg.plan(model, compat=compat)
    assert reasons(plan) == {
        "model.init_cfg": "the model was initialized before (is_init=True)",
        "model.x.init_cfg": "the model, in which it lies, was initialized before (is_init=True)",
    }
    assert plan["fc.weight"].value.kind == "Keep"
    assert plan.notes[0].startswith("model was initialized before (is_init=True)")
    with pytest.raises(UnusedRuleError):
        initcfg.plan(model, compat=compat, strict=True)
    with caplog.at_level(logging.WARNING, "initcfg"):
        ledger = initcfg.init_weights(model, compat=compat)
    assert "init_weights of Leaf has been called more than once." in caplog.text
    assert ledger.written() == []
    assert model.fc.weight.unique().item() == 4
    assert model.is_init
    assert model.x.is_init


def test_rules_of_an_outer_parent_reach_an_initialized_root() -> None:
    model = Leaf(FIVE)
    model.init_weights()
    initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=3))
    assert model.fc.weight.unique().item() == 3


def test_a_plan_can_be_applied_again() -> None:
    model = Leaf(dict(type="Normal", layer="Linear"), x=Hand(dict(type="Normal", layer="Linear")))
    plan = initcfg.plan(model)
    plan.apply(model, seed=1)
    first = [each.clone() for each in model.parameters()]
    plan.apply(model, seed=2)
    assert not torch.equal(first[2], model.x.fc.weight)
    plan.apply(model, seed=1)
    assert all(map(torch.equal, first, model.parameters()))
    assert model.x.is_init


def test_the_original_does_not_look_into_plain_containers() -> None:
    model = Leaf(x=nn.Sequential(Leaf(FIVE)))
    assert reasons(initcfg.plan(model)) == {}
    assert reasons(initcfg.plan(model, compat="mmengine")) == {
        "model.x.0.init_cfg": "x, in which it lies, has no init_weights(), so that MMEngine does not look "
        "into it"
    }
    assert reasons(initcfg.plan(Leaf(x=ModuleList([Leaf(FIVE)])), compat="mmengine")) == {}
    shared = Leaf(FIVE)
    assert reasons(initcfg.plan(Leaf(a=nn.Sequential(shared), b=shared), compat="mmengine")) == {}


def test_init_weights_itself_logs_what_did_not_run(caplog: pytest.LogCaptureFixture) -> None:
    done = Leaf(FIVE)
    done.is_init = True
    with caplog.at_level(logging.WARNING, "initcfg"):
        Leaf(x=Alone(FIVE), y=Hand(FIVE), z=done).init_weights()
    told = [record.getMessage().partition(" reached nothing: ")[0] for record in caplog.records]
    assert told == ["model.z.init_cfg", "model.x.init_cfg"]


def test_a_note_of_code_that_raised_says_what_and_where() -> None:
    class Raising(Leaf):
        def init_weights(self) -> None:
            raise ValueError("not today\nnor tomorrow")

    plan = initcfg.plan(Leaf(x=Raising(FIVE)))
    [note] = plan.notes
    line = Raising.init_weights.__code__.co_firstlineno + 1
    assert note == (
        "model.x.init_weights is run when the plan is applied, and not before: it raised ValueError: not "
        f"today (test_idle_rules.py:{line}) when it was tried."
    )
    # Whether it would have run its rules is not known.
    assert plan.unused == ()


def test_code_that_raises_in_a_part_leaves_its_tensors_open() -> None:
    class Raising(Leaf):
        def init_weights(self) -> None:
            nn.init.constant_(self.fc.weight, 2)
            raise ValueError("not today")

    plan = initcfg.plan(Leaf(x=Hand(FIVE, inner=Raising())))
    assert plan["x.inner.fc.weight"].value.kind == "Opaque"
    assert plan.notes[0].startswith("model.x.inner.init_weights is run when the plan is applied")
