"""What a module's ``init_weights`` is: of its class, of the instance, forwarded, or a flag."""

from __future__ import annotations

import functools
import types
from typing import Any

import pytest
import torch
from forwarding import Forwarding
from torch import nn

import initcfg
from initcfg import BaseModule
from initcfg.compat import mmengine as compat
from initcfg.errors import ApplyError, PlanError

THREE = dict(type="Constant", layer="Linear", val=3)


def fill(module: nn.Module, value: float = 7) -> None:
    nn.init.constant_(module.weight, value)  # type: ignore[arg-type]


class SevenByAttribute(nn.Linear):
    init_weights = fill


class SevenByProperty(nn.Linear):
    @property
    def init_weights(self) -> Any:
        return lambda: fill(self)


class SevenByGetattr(nn.Linear):
    def __getattr__(self, name: str) -> Any:
        return functools.partial(fill, self) if name == "init_weights" else super().__getattr__(name)


class SevenByPartialMethod(nn.Linear):
    init_weights = functools.partialmethod(fill, 7)


class SevenByStatic(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        SevenByStatic.last = self

    @staticmethod
    def init_weights() -> None:
        fill(SevenByStatic.last)


def on_instance(way: str) -> nn.Module:
    made = nn.Linear(2, 2)
    ways: dict[str, Any] = {
        "lambda": lambda: fill(made),
        "MethodType": types.MethodType(fill, made),
        "partial": functools.partial(fill, made, value=7),
        "function": functools.wraps(fill)(lambda: fill(made)),
    }
    made.init_weights = ways[way]
    return made


PLAIN: dict[str, Any] = {
    "attribute": lambda: SevenByAttribute(2, 2),
    "property": lambda: SevenByProperty(2, 2),
    "getattr": lambda: SevenByGetattr(2, 2),
    "partialmethod": lambda: SevenByPartialMethod(2, 2),
    "staticmethod": lambda: SevenByStatic(2, 2),
    **{
        f"{way} on it": functools.partial(on_instance, way)
        for way in ("lambda", "MethodType", "partial", "function")
    },
}


def family(home: Any) -> Any:
    class Head(home.BaseModule):
        def __init__(self, init_cfg: Any = THREE) -> None:
            super().__init__(init_cfg)
            self.fc = nn.Linear(2, 2)

    return Head


class Net(BaseModule):
    def __init__(self, child: nn.Module, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.child = child


class CompatNet(compat.BaseModule):
    def __init__(self, child: nn.Module, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.child = child


@pytest.mark.parametrize("net", [Net, CompatNet])
@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_a_plain_child_is_called_however_it_has_the_method(net: Any, make: Any) -> None:
    model = net(make(), THREE)
    plan = initcfg.plan(model, compat=model._initcfg_compat)
    assert plan["child.weight"].value == initcfg.values.Constant(7)
    assert plan["child.weight"].rule == "model.child.init_weights"
    assert plan["child.bias"].value == initcfg.values.Constant(0)
    ledger = plan.apply(model, seed=0)
    assert model.child.weight.unique().item() == 7
    assert ledger["child.weight"].by == "code"
    direct = net(make(), THREE)
    direct.init_weights()
    assert direct.child.weight.unique().item() == 7


@pytest.mark.parametrize(("home", "net"), [(initcfg, Net), (compat, CompatNet)])
def test_a_method_on_the_instance_stands_in_place_of_the_rules(home: Any, net: Any) -> None:
    head = family(home)()
    model = net(head)
    before = head.fc.weight.clone()
    head.init_weights = lambda: None
    plan = initcfg.plan(model, compat=model._initcfg_compat)
    assert plan["child.fc.weight"].value.kind == "Keep"
    [unused] = plan.unused
    assert unused.rule == "model.child.init_cfg"
    assert "test_methods.py" in unused.reason
    assert unused.reason.endswith("takes its place, and does not call super().init_weights()")
    model.init_weights()
    assert torch.equal(head.fc.weight, before)


def test_the_rules_method_set_on_the_instance_is_still_the_rules() -> None:
    head = family(initcfg)()
    head.init_weights = head.init_weights
    plan = initcfg.plan(Net(head))
    assert plan["child.fc.weight"].rule == "model.child.init_cfg"
    other = family(initcfg)()
    other.init_weights = types.MethodType(BaseModule.init_weights, other)
    assert initcfg.plan(Net(other))["child.fc.weight"].rule == "model.child.init_cfg"


def test_a_method_of_another_module_runs_that_ones_rules() -> None:
    head = family(initcfg)()
    outer = nn.ModuleDict({"head": head})
    outer.init_weights = head.init_weights
    model = Net(outer)
    plan = initcfg.plan(model)
    assert plan["child.head.fc.weight"].value == initcfg.values.Constant(3)
    assert plan["child.head.fc.weight"].rule == "model.child.head.init_cfg"
    assert plan.unused == ()


def test_a_wrapper_that_forwards_by_getattr_runs_the_inner_rules() -> None:
    model = Net(Forwarding(family(initcfg)()))
    assert initcfg.plan(model)["child.inner.fc.weight"].value == initcfg.values.Constant(3)
    model.init_weights()
    assert model.child.inner.fc.weight.unique().item() == 3
    assert model.child.inner.is_init


def test_the_root_may_have_one_too() -> None:
    model = Net(nn.Linear(2, 2), THREE)
    model.init_weights = lambda: fill(model.child)
    plan = initcfg.plan(model)
    assert plan["child.weight"].value == initcfg.values.Constant(7)
    assert plan["child.bias"].value.kind == "Keep"
    assert [each.rule for each in plan.unused] == ["model.init_cfg"]


def test_a_flag_of_that_name_is_no_method() -> None:
    child = nn.Linear(2, 2)
    child.init_weights = True
    plan = initcfg.plan(Net(child, THREE))
    assert plan["child.weight"].value == initcfg.values.Constant(3)
    assert plan.uncalled == ()


def test_a_method_hidden_by_something_that_cannot_be_called_is_an_error_as_in_the_original() -> None:
    class Hidden(family(initcfg)):  # type: ignore[misc]
        init_weights = None

    model = Net(Hidden())
    with pytest.raises(ApplyError, match="'NoneType' object is not callable"):
        initcfg.init_weights(model)


def test_a_property_that_fails_is_named() -> None:
    class Broken(nn.Linear):
        @property
        def init_weights(self) -> Any:
            raise ValueError("not ready")

    with pytest.raises(
        PlanError, match="init_weights of a Broken cannot be looked at: ValueError: not ready"
    ):
        initcfg.plan(Net(Broken(2, 2)))


def test_an_init_cfg_set_on_the_instance_counts() -> None:
    child = nn.Linear(2, 2)
    child.init_cfg = THREE
    plan = initcfg.plan(Net(child))
    assert plan["child.weight"].value == initcfg.values.Constant(3)
    head = family(initcfg)(None)
    head.init_cfg = [THREE]
    assert initcfg.plan(Net(head))["child.fc.weight"].rule == "model.child.init_cfg[0]"


def test_each_call_of_a_class_without_base_module_is_a_note() -> None:
    plan = initcfg.plan(Net(nn.ModuleList([SevenByAttribute(2, 2)])))
    assert plan.uncalled == ("child.0",)
    assert plan.notes == ()
    layers = initcfg.ModuleList([SevenByAttribute(2, 2), SevenByAttribute(2, 2)])
    plan = initcfg.plan(Net(layers))
    assert [note.partition("()")[0] for note in plan.notes] == [
        "model.child.0.init_weights",
        "model.child.1.init_weights",
    ]
    assert "model.child.{0,1}.init_weights() is called, though a SevenByAttribute is no" in str(plan)
    assert initcfg.plan(Net(family(initcfg)())).notes == ()
    assert initcfg.plan(Net(layers), compat="mmengine").notes == ()


def test_a_method_of_its_own_is_the_reason_that_explain_gives() -> None:
    text = initcfg.plan(Net(SevenByAttribute(2, 2), THREE)).explain("child.weight")
    assert "overridden: a module's own init_weights runs after its parents' rules" in text
    assert "a child's init_cfg" not in text


@pytest.mark.parametrize(("first", "value"), [("writer", 3), ("written", 7)])
def test_a_method_that_writes_another_module_is_in_the_plan(first: str, value: float) -> None:
    parts = {"writer": nn.Linear(2, 2), "written": family(initcfg)()}
    model = BaseModule(dict(type="Constant", layer="Linear", val=5))
    for name in (first, *parts.keys() - {first}):
        model.add_module(name, parts[name])
    parts["writer"].init_weights = lambda: fill(parts["written"].fc)
    plan = initcfg.plan(model)
    item = plan["written.fc.weight"]
    assert item.value == initcfg.values.Constant(value)
    rules = ["model.init_cfg", "model.written.init_cfg"]
    if value == 7:
        rules.append("model.writer.init_weights")
    assert [*(each.rule for each in item.shadowed), item.rule] == rules
    ledger = plan.apply(model, seed=0)
    assert model.written.fc.weight.unique().item() == value
    assert ledger["written.fc.weight"].by == ("rule" if value == 3 else "code")


def test_what_a_failed_run_had_marked_is_initialized_again() -> None:
    class Failing(family(initcfg)):  # type: ignore[misc]
        failing = True

        def init_weights(self) -> None:
            super().init_weights()
            if Failing.failing:
                raise ValueError("not today")

    model = Net(Failing(), dict(type="Constant", layer="Linear", val=5))
    with pytest.raises(ApplyError, match="not today"):
        initcfg.init_weights(model)
    assert not model.child.is_init
    Failing.failing = False
    initcfg.init_weights(model)
    assert model.child.fc.weight.unique().item() == 3
