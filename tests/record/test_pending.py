"""A model that is pending: what it refuses, when it opens, and what its own code finds in it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import PendingModelError

DOORS = {
    "calling": lambda model: model(torch.zeros(1, 2)),
    "state_dict": lambda model: model.state_dict(),
    "load_state_dict": lambda model: model.load_state_dict({}),
    "moving": lambda model: model.to(torch.float64),
    "half": lambda model: model.half(),
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "inner": lambda model: model[0](torch.zeros(1, 2)),
    "inner state": lambda model: model[0].state_dict(),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_pending_model_cannot_be_used(door):
    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(PendingModelError, match=r"init_weights\(model\)"):
        door(model)
    assert torch.isnan(model[0].weight).all()
    initcfg.init_weights(model, seed=0)
    if door is not DOORS["load_state_dict"]:
        door(model)
    assert not any(name.startswith("_initcfg") for module in model.modules() for name in vars(module))
    assert not model[0]._forward_pre_hooks


def test_the_doors_open_part_by_part():
    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    initcfg.init_weights(model[0], seed=0)
    model[0](torch.zeros(1, 2))
    with pytest.raises(PendingModelError):
        model(torch.zeros(1, 2))
    initcfg.init_weights(model[1], seed=0)
    model(torch.zeros(1, 2))


def test_after_a_failure_the_model_is_pending_again():
    class Broken(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.fails = True

        def init_weights(self):
            nn.init.zeros_(self.a.weight)
            if self.fails:
                raise ValueError("no")

    with initcfg.deferred():
        model = Broken()
    plan = initcfg.plan(model)
    with pytest.raises(initcfg.errors.ApplyError, match="no"):
        plan.apply(model, seed=0)
    with pytest.raises(initcfg.errors.ApplyError):
        model.state_dict()
    model.fails = False
    initcfg.plan(model).apply(model, seed=0)
    assert torch.isfinite(model.b.weight).all()
    assert model.a.weight.eq(0).all()


def test_user_code_finds_what_the_constructor_meant():
    class Outer(initcfg.BaseModule):
        def __init__(self):
            super().__init__(dict(type="Constant", name="b", layer="Linear", val=5.0))
            self.a, self.b = Reader(self), nn.Linear(4, 4)

    class Reader(initcfg.BaseModule):
        def __init__(self, outer):
            super().__init__()
            self.seen = []
            self.__dict__["outer"] = outer
            self.own = nn.Linear(4, 4)

        def init_weights(self):
            self.seen.append(self.outer.b.weight.abs().max().item())
            self.own.weight.data.add_(1.0)

    with initcfg.deferred():
        model = Outer()
    initcfg.init_weights(model, seed=0)
    assert model.a.seen[0] == 5.0 or 0 < model.a.seen[0] <= 0.5
    assert 0.5 <= model.a.own.weight.min() <= model.a.own.weight.max() <= 1.5
    assert model.b.weight.eq(5.0).all()


def test_parameters_that_all_stand_in_the_place_of_others_are_pending():
    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(3, 3))
    whole = initcfg.plan(model)
    for name, parameter in list(model[0]._parameters.items()):
        model[0]._parameters[name] = nn.Parameter(parameter.detach())
    plan = initcfg.plan(model)
    assert plan == whole
    assert plan["0.weight"].default is not None
