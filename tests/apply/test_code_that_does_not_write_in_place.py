"""A model's own init_weights need not write in place: what it leaves is what the model gets, and is told."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from torch import nn

import initcfg

NUMBERS = torch.arange(12.0).reshape(4, 3) + 0.5


def assign_data(module):
    module.w.data = NUMBERS.clone()


def assign_computed(module):
    module.w.data = module.w.data * 0 + NUMBERS


def assign_then_write(module):
    module.w.data = NUMBERS / 2
    module.w.data.mul_(2)


def write_to_what_was_there(module):
    old = module.w.detach()
    module.w.data = NUMBERS.clone()
    old.fill_(3)


def set_tensor(module):
    with torch.no_grad():
        module.w.set_(NUMBERS.clone())


def new_parameter(module):
    module.w = nn.Parameter(NUMBERS.clone())


def register(module):
    del module.w
    module.register_parameter("w", nn.Parameter(NUMBERS.clone()))


def load_assigned(module):
    module.load_state_dict({"w": NUMBERS.clone()}, assign=True)


def swap(module):
    torch.utils.swap_tensors(module.w, nn.Parameter(NUMBERS.clone()))


def through_numpy(module):
    module.w.detach().numpy()[:] = NUMBERS.numpy()


def through_asarray(module):
    np.asarray(module.w.detach())[:2] = NUMBERS[:2].numpy()
    np.asarray(module.w.detach())[2:] = NUMBERS[2:].numpy()


def through_dlpack(module):
    torch.from_dlpack(module.w.detach()).copy_(NUMBERS)


def through_capsule(module):
    torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(module.w.detach())).copy_(NUMBERS)


def through_an_address(module):
    ctypes.memmove(module.w.untyped_storage().data_ptr(), NUMBERS.data_ptr(), 48)


def through_storage(module):
    module.w.untyped_storage().copy_(NUMBERS.untyped_storage())


def many_at_once(module):
    with torch.no_grad():
        torch._foreach_zero_([module.w])
        torch._foreach_add_([module.w], [NUMBERS])


def as_output(module):
    torch.add(NUMBERS, 0, out=module.w.data)


def from_numpy_memory(module):
    array = NUMBERS.numpy() / 3
    module.w.data = torch.from_numpy(array)
    array[:] = NUMBERS.numpy()


def numpy_beside(module):
    array = np.zeros((4, 3), "f")
    tensor = torch.as_tensor(array)
    module.w.data.copy_(tensor)
    array[:] = NUMBERS.numpy()
    module.w.data.add_(tensor)


WAYS = [
    assign_data,
    assign_computed,
    assign_then_write,
    write_to_what_was_there,
    set_tensor,
    new_parameter,
    register,
    load_assigned,
    swap,
    through_numpy,
    through_asarray,
    through_dlpack,
    through_capsule,
    through_an_address,
    through_storage,
    many_at_once,
    as_output,
    from_numpy_memory,
    numpy_beside,
]


def model_with(way, before):
    class Own(initcfg.BaseModule):
        def __init__(self):
            super().__init__(dict(type="Normal", param="w", std=0.5) if before == "rule" else None)
            self.w = nn.Parameter(torch.ones(4, 3))

        def init_weights(self):
            if before == "rule":
                super().init_weights()
            elif before == "nn.init":
                nn.init.normal_(self.w)
            way(self)

    return nn.ModuleDict({"own": Own()})


@pytest.mark.parametrize("before", ["rule", "nn.init", "nothing"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_the_model_gets_what_the_code_leaves(way, before, rng):
    model = model_with(way, before)
    ledger = initcfg.init_weights(model, seed=0, rng=rng)
    assert torch.equal(model["own"].w, NUMBERS)
    assert ledger["own.w"].by == "code" and ledger["own.w"].code.startswith("Own.init_weights")


@pytest.mark.parametrize("way", WAYS)
def test_a_plan_is_applied_to_a_deferred_model(way):
    with initcfg.deferred():
        model = model_with(way, "rule")
    plan = initcfg.plan(model)
    ledger = plan.apply(model, seed=0)
    assert torch.equal(model["own"].w, NUMBERS)
    assert ledger["own.w"].by == "code"
    assert plan["own.w"].value.kind in ("Formula", "Opaque")


@pytest.mark.parametrize("way", WAYS)
def test_a_build_that_does_so_is_traced_and_deferred(way):
    class Built(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(4, 3))
            nn.init.normal_(self.w)
            way(self)

    model = Built()
    model.w.data.fill_(77)
    initcfg.trace(Built).apply(model, seed=0)
    assert torch.equal(model.w, NUMBERS)
    with initcfg.deferred():
        model = Built()
    initcfg.init_weights(model, seed=0)
    assert torch.equal(model.w, NUMBERS)


@pytest.mark.parametrize("way", [through_numpy, many_at_once, assign_data])
@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_a_trace_is_applied_to_the_very_model_that_was_traced(way, rng):
    model = nn.ModuleDict({"own": nn.Module()})
    model["own"].w = nn.Parameter(torch.ones(4, 3))
    plan = initcfg.trace(lambda: way(model["own"]), model)
    assert model["own"].w.tolist() == torch.ones(4, 3).tolist()
    plan.apply(model, seed=0, rng=rng)
    assert torch.equal(model["own"].w, NUMBERS)


def test_a_new_parameter_has_the_numbers_that_the_plan_says():
    def way(module):
        module.w = nn.Parameter(torch.randn(4, 3) * 0.02)

    model = model_with(way, "rule")
    plan = initcfg.plan(model)
    assert str(plan["own.w"].value) == "Normal(mean=0, std=0.02)"
    ledger = plan.apply(model, seed=3)
    assert (ledger["own.w"].by, str(ledger["own.w"].value)) == ("code", "Normal(mean=0, std=0.02)")
    other = nn.ModuleDict({"own": nn.Module()})
    other["own"].w = nn.Parameter(torch.ones(4, 3))
    initcfg.init_weights(other, dict(type="Normal", param="own.w", std=0.02), seed=3)
    assert torch.equal(other["own"].w, model["own"].w)


def test_memory_goes_with_what_waits_for_it():
    def way(module):
        module.w.data, module.v.data = module.v.data, module.w.data

    class Own(initcfg.BaseModule):
        def __init__(self):
            super().__init__(
                [dict(type="Constant", param="w", val=1), dict(type="Constant", param="v", val=2)]
            )
            self.w, self.v = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

        def init_weights(self):
            super().init_weights()
            way(self)

    model = nn.ModuleList([Own()])
    plan = initcfg.plan(model)
    plan.apply(model, seed=0)
    assert (model[0].w.tolist(), model[0].v.tolist()) == ([2.0] * 3, [1.0] * 3)
    assert (str(plan["0.w"].value), str(plan["0.v"].value)) == ("Constant(2)", "Constant(1)")


def test_memory_that_code_only_looks_at_is_the_rules():
    def way(module):
        assert module.w.detach().numpy().std() > 0.1

    ledger = initcfg.init_weights(model_with(way, "rule"), seed=0)
    assert (ledger["own.w"].by, str(ledger["own.w"].value)) == ("rule", "Normal(mean=0, std=0.5)")


def test_code_that_reaches_beyond_its_module():
    class Own(initcfg.BaseModule):
        def __init__(self, other):
            super().__init__()
            self.others = [other]

        def init_weights(self):
            self.others[0].weight.data = torch.full((2, 2), 4.0)

    linear = nn.Linear(2, 2)
    model = nn.Sequential(linear, Own(linear))
    ledger = initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1), seed=0)
    assert model[0].weight.tolist() == [[4.0, 4.0], [4.0, 4.0]]
    assert (ledger["0.weight"].by, ledger["0.weight"].code.partition(" ")[0]) == ("code", "Own.init_weights")
