"""A model's own init_weights may trace, script, export or compile its layers: rules and values stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg.values import Constant

X = torch.ones(1, 4)


class Coded(initcfg.BaseModule):
    def __init__(self, code):
        super().__init__(dict(type="Constant", layer="Linear", val=3.0))
        self.fc = nn.Linear(4, 4)
        self.code = code

    def forward(self, x):
        return self.fc(x)

    def init_weights(self):
        super().init_weights()
        self.code(self)


def traced(module):
    module.other = torch.jit.trace(module.fc, X)


def traced_in_place_of_itself(module):
    module.fc = torch.jit.trace(module.fc, X)


def scripted(module):
    assert torch.equal(torch.jit.script(module.fc)(X), torch.full((1, 4), 12.0))


def scripted_in_place_of_itself(module):
    module.fc = torch.jit.script(module.fc)


def compiled(module):
    assert torch.equal(torch.compile(module.fc, backend="eager")(X), torch.full((1, 4), 12.0))


def exported(module):
    assert torch.equal(torch.export.export(module, (X,)).module()(X), torch.full((1, 4), 12.0))


def called(module):
    assert torch.equal(module(X), torch.full((1, 4), 12.0))


def functional(module):
    torch.func.functional_call(module.fc, {"weight": module.fc.weight * 2}, (X,))
    torch.func.vmap(lambda row: row * 2)(module.fc.weight)


WAYS = [traced, traced_in_place_of_itself, scripted, scripted_in_place_of_itself, compiled, exported, called]

# torch.jit says that it is deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("way", [*WAYS, functional], ids=lambda way: way.__name__)
def test_the_rule_is_in_the_plan_and_in_the_model(way, pending, rng):
    if pending:
        with initcfg.deferred():
            model = Coded(way)
    else:
        model = Coded(way)
    plan = initcfg.plan(model)
    assert plan["fc.weight"].value == Constant(3.0)
    assert plan["fc.weight"].rule == "model.init_cfg"
    assert plan.notes == ()
    if pending:
        with pytest.raises(initcfg.errors.PendingModelError):
            model(X)
    ledger = plan.apply(model, seed=0, rng=rng)
    assert torch.equal(model.fc.weight, torch.full((4, 4), 3.0))
    assert torch.equal(model.fc.bias, torch.zeros(4))
    assert ledger["fc.weight"].rule == "model.init_cfg"


def test_a_compiled_write_counts():
    @torch.compile(backend="eager")
    def double(weight):
        return weight.mul_(2)

    def write(module):
        with torch.no_grad():
            double(module.fc.weight)

    model = Coded(write)
    assert initcfg.plan(model)["fc.weight"].value == Constant(6.0)
    initcfg.init_weights(model, seed=0)
    assert torch.equal(model.fc.weight, torch.full((4, 4), 6.0))
