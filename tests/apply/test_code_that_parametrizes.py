"""A model's own init_weights may rename a weight, or store it as something else, and the plan tells."""

from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg.values import Normal

OLD = ["weight_norm", "spectral_norm", "prune"]
NEW = ["weight_norm_parametrization", "orthogonal", "spectral_norm_parametrization", "doubled"]


class Doubled(nn.Module):
    def forward(self, x):
        return x * 2

    def right_inverse(self, y):
        return y / 2


def change(layer, how):
    parametrizations = nn.utils.parametrizations
    if how == "prune":
        torch.nn.utils.prune.l1_unstructured(layer, "weight", amount=0.5)
    elif how == "doubled":
        nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())
    elif how in OLD:
        getattr(nn.utils, how)(layer)
    else:
        getattr(parametrizations, how.removesuffix("_parametrization"))(layer)


class Changing(initcfg.BaseModule):
    def __init__(self, how, init_cfg=None):
        super().__init__(init_cfg)
        self.fc = nn.Linear(4, 3)
        self.how = how

    def init_weights(self):
        super().init_weights()
        change(self.fc, self.how)


class Plain(initcfg.BaseModule):
    def __init__(self, init_cfg):
        super().__init__(init_cfg)
        self.fc = nn.Linear(4, 3)


KAIMING = dict(type="Kaiming", layer="Linear")
# torch.nn.utils.weight_norm says that it is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def renamed(how):
    return {"weight_norm": "fc.weight_v"}.get(how, "fc.weight_orig")


@pytest.mark.parametrize("how", OLD)
def test_renamed_memory_goes_on_with_its_rule(how):
    model = Changing(how, KAIMING)
    plan = initcfg.plan(model)
    name = renamed(how)
    assert plan[name].value == Normal(0.0, pytest.approx((2 / 3) ** 0.5))
    assert plan[name].rule == "model.init_cfg"
    assert plan.uninitialized == ()
    ledger = plan.apply(model, seed=3)
    assert (ledger[name].by, ledger[name].rule) == ("rule", "model.init_cfg")
    # The same numbers for the name that it has now, whoever writes them.
    again = Changing(how)
    change(again.fc, how)
    initcfg.Plan.from_json(plan.to_json()).apply(again, seed=3)
    there = again.state_dict()
    assert all(torch.equal(tensor, there[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("how", OLD)
def test_renamed_memory_that_a_constructor_wrote_is_not_said_to_be_unwritten(how):
    model = Changing(how)
    held = model.fc.weight.detach().clone()
    plan = initcfg.plan(model)
    assert plan.uninitialized == ()
    assert "never written" not in str(plan)
    plan.apply(model, seed=3)
    assert torch.equal(model.get_parameter(renamed(how)), held)
    with initcfg.deferred():
        pending = Changing(how)
    plan = initcfg.plan(pending)
    assert plan.uninitialized == ()
    assert plan[renamed(how)].value.kind == "Uniform"
    ledger = plan.apply(pending, seed=3)
    assert ledger[renamed(how)].by == "default"


def test_new_memory_that_nobody_writes_is_still_said_to_be_unwritten():
    class Empty(initcfg.BaseModule):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))
            self.v = nn.Parameter(torch.empty(3))

        def init_weights(self):
            self.w = nn.Parameter(torch.empty(3))
            self.u = self.v
            del self.v

    with initcfg.deferred():
        model = Empty()
    assert initcfg.plan(model).uninitialized == ("w", "u")


@pytest.mark.parametrize("cfg", [None, KAIMING], ids=["default", "rule"])
@pytest.mark.parametrize("how", NEW)
def test_a_parametrization_is_told_and_saved(how, cfg, tmp_path):
    with initcfg.deferred():
        model, saved = Changing(how, cfg), Changing(how, cfg)
    plan = initcfg.plan(model)
    assert "it is parametrized by" in plan["fc.weight"].value.code
    assert "changed      fc.weight: the model's own code stores it in another way" in str(plan)
    assert "stores it in another way" in plan.explain("fc.weight")
    ledger = plan.apply(model, seed=3)
    assert ledger["fc.weight"].value.kind == "Keep"
    initcfg.plan(saved).save_weights(tmp_path, saved, seed=3)
    found, wanted = load_file(tmp_path / "model.safetensors"), model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())


def test_a_parametrization_that_can_be_undone_keeps_the_rules_numbers():
    for how in ("weight_norm_parametrization", "doubled"):
        model, plain = Changing(how, KAIMING), Plain(KAIMING)
        initcfg.init_weights(model, seed=3)
        initcfg.init_weights(plain, seed=3)
        assert torch.allclose(model.fc.weight, plain.fc.weight, rtol=1e-6)
