"""A model's own init_weights replaces, adds and deletes tensors: plan, model, ledger and file agree."""

from __future__ import annotations

import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune

import initcfg
from initcfg import Plan
from initcfg._apply import verified
from initcfg._checkpoints import open_source
from initcfg.errors import ApplyError


def other_shape(module):
    module.w = nn.Parameter(torch.full((2, 5), 3.0))


def other_type(module):
    module.w.data = module.w.data.bfloat16() * 0 + 2


def added(module):
    module.extra = nn.Parameter(torch.full((7,), 3.0))
    module.norm = nn.LayerNorm(3)
    module.register_buffer("table", torch.arange(3.0))


def deleted(module):
    nn.init.constant_(module.w, 4.0)
    del module.b


def submodule(module):
    module.head = nn.Linear(2, 3)
    nn.init.constant_(module.head.weight, 5.0)
    nn.init.zeros_(module.head.bias)


def tied(module):
    nn.init.ones_(module.w)
    module.v = module.w


def buffer(module):
    value = module.w.detach() * 0 + 1
    del module.w
    module.register_buffer("w", value)


WAYS = [other_shape, other_type, added, deleted, submodule, tied, buffer]


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(2, 2)


def model_with(way):
    class Own(initcfg.BaseModule, Holder):
        def __init__(self):
            Holder.__init__(self)
            self.init_cfg = [dict(type="Normal", param="w"), dict(type="Constant", layer="Linear", val=1)]
            self._is_init = False

        def init_weights(self):
            super().init_weights()
            way(self)

    return nn.ModuleDict({"m": Own()})


def truth(way):
    model = nn.ModuleDict({"m": Holder()})
    nn.init.ones_(model["m"].head.weight)
    nn.init.zeros_(model["m"].head.bias)
    way(model["m"])
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("way", WAYS)
def test_plan_model_and_ledger_are_of_the_model_that_the_code_leaves(way):
    wanted = truth(way)
    plan = initcfg.plan(model_with(way))
    model = model_with(way)
    ledger = plan.apply(model, seed=0)
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].shape, found[name].dtype) == (tensor.shape, tensor.dtype)
        if not (name == "m.w" and way in (added, submodule)):
            assert torch.equal(found[name], tensor), name
    for name, parameter in model.named_parameters():
        assert plan[name].shape == ledger[name].shape == tuple(parameter.shape)
        assert plan[name].dtype == ledger[name].dtype == str(parameter.dtype).removeprefix("torch.")
    assert set(plan) == {plan.aliases.get(name, name) for name, _ in model.named_parameters()}
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("way", WAYS)
def test_the_file_of_it_holds_the_same_and_is_as_initialized(way, tmp_path):
    with initcfg.deferred():
        model = model_with(way)
    plan = initcfg.plan(model)
    ledger = plan.save_weights(tmp_path / "out", model, seed=0)
    found, wanted = load_file(tmp_path / "out" / "model.safetensors"), truth(way)
    if way is tied:
        del wanted[next(name for name in ("m.w", "m.v") if name not in found)]
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype
    for told in (plan, ledger):
        with open_source(str(tmp_path / "out" / "model.safetensors")) as reader:
            status = {each.name: each.status for each in verified(reader, told, 0).tensors}
        assert set(status.values()) <= {"initial", "unknown", "unplanned"}, status


def test_the_plan_says_what_there_was_before():
    plan = initcfg.plan(model_with(other_shape))
    assert "changed      m.w: float32 of shape 4×3, until the model's own code runs" in str(plan)
    assert "The model's own code puts it there; before, it is float32 of shape 4×3." in plan.explain("m.w")
    plan = initcfg.plan(model_with(deleted))
    assert "taken away   m.b: float32 of shape 4, until the model's own code runs" in str(plan)
    assert plan.explain("m.b").endswith("The model's own code takes it away.")
    plan = initcfg.plan(model_with(added))
    assert "added        m.extra: the model's own code makes it" in str(plan)
    assert "tied " in str(initcfg.plan(model_with(tied)))
    assert initcfg.plan(model_with(lambda module: None)).before_code == {}


def test_from_json_the_code_cannot_run():
    plan = Plan.from_json(initcfg.plan(model_with(other_shape)).to_json())
    with pytest.raises(ApplyError, match=r"gives another shape or type to 'm\.w', and here it cannot run"):
        plan.apply(model_with(other_shape), seed=0)


def test_a_model_that_has_been_changed_already():
    model = model_with(other_shape)
    plan = initcfg.plan(model)
    plan.apply(model, seed=0)
    plan.apply(model, seed=0)
    assert model["m"].w.shape == (2, 5)


def test_atomic_puts_back_what_code_has_replaced():
    def way(module):
        other_shape(module)
        module.b.data = torch.ones(9)
        del module.head
        if module.fails:
            raise ValueError("no")

    model = model_with(way)
    model["m"].fails = False
    plan = initcfg.plan(model)
    model["m"].fails = True
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ApplyError, match="no"):
        plan.apply(model, seed=0, atomic=True)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert model["m"].head.weight.shape == (2, 2)


@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_atomic_puts_back_what_modules_are_and_whether_gradients_are_wanted(rng):
    class Reparametrizing(initcfg.BaseModule):
        fails = False

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.register_buffer("saved", torch.zeros(2))

        def init_weights(self):
            super().init_weights()
            self.fc.bias.requires_grad_(False)
            if self.fails:
                nn.utils.parametrizations.weight_norm(self.fc)
                self.register_buffer("saved", torch.ones(2), persistent=False)
                raise ValueError("no")

    model = Reparametrizing()
    plan = initcfg.plan(model)
    model.fails = True
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ApplyError, match="no"):
        plan.apply(model, seed=0, rng=rng, atomic=True)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert type(model.fc) is nn.Linear
    assert [each.requires_grad for each in model.parameters()] == [True, True]
    assert model.fc(torch.ones(1, 3)).shape == (1, 2)


def test_code_that_planning_cannot_foresee(tmp_path):
    torch.save(torch.full((2, 5), 6.0), tmp_path / "w.pth")

    def way(module):
        module.w = nn.Parameter(torch.load(tmp_path / "w.pth"))

    model = model_with(way)
    plan = initcfg.plan(model)
    assert plan["m.w"].shape == (4, 3) and "is run when the plan is applied" in str(plan)
    ledger = plan.apply(model, seed=0)
    assert (ledger["m.w"].shape, ledger["m.w"].by) == ((2, 5), "code")


@pytest.mark.parametrize(
    ("way", "change"),
    [
        (other_shape, "gives another shape or type to 'm.w'"),
        (added, "makes 'm.extra'"),
        (deleted, "takes away 'm.b'"),
        (tied, "makes one with 'm.v' what is 'm.w'|makes 'm.v'"),
    ],
)
def test_a_trace_of_such_code_needs_a_model_on_which_it_has_run(way, change):
    model = nn.ModuleDict({"m": Holder()})
    plan = initcfg.trace(lambda: way(model["m"]), model)
    assert model.state_dict().keys() == nn.ModuleDict({"m": Holder()}).state_dict().keys()
    with pytest.raises(
        ApplyError, match=f"The traced code ({change}), and a plan writes tensors and no more"
    ):
        plan.apply(model, seed=0)
    way(model["m"])
    plan.apply(model, seed=0)
    assert Plan.from_json(plan.to_json()).before_code == plan.before_code


def test_a_parameter_gets_a_second_name():
    def way(module):
        nn.init.ones_(module.w)
        module.w2 = module.w

    model = model_with(way)
    plan = initcfg.plan(model)
    assert dict(plan.aliases) == {"m.w2": "m.w"} and plan.before_code == {"m.w2": None}
    assert "tied         m.w2: the model's own code makes it one with m.w" in str(plan)
    ledger = plan.apply(model, seed=0)
    assert model["m"].w2 is model["m"].w and dict(ledger.aliases) == {"m.w2": "m.w"}


class Rewrapped(initcfg.BaseModule):
    """Code that changes more of a module than its tensors: hooks, its class, a list of its own."""

    def __init__(self, wrap):
        super().__init__(dict(type="Constant", val=2.0, param="w"))
        self.w = nn.Parameter(torch.ones(4, 3))
        self.wrap, self.calls = wrap, []

    def init_weights(self):
        super().init_weights()
        self.calls.append(self.wrap.__name__)
        self.wrap(self)


def old_weight_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module, "w")


def new_weight_norm(module):
    nn.utils.parametrizations.weight_norm(module, "w")


def pruned(module):
    prune.custom_from_mask(module, "w", torch.eye(4, 3))


@pytest.mark.parametrize(
    ("wrap", "wanted"),
    [
        (old_weight_norm, {"w_g": torch.full((4, 1), 12**0.5), "w_v": torch.full((4, 3), 2.0)}),
        (
            new_weight_norm,
            {
                "parametrizations.w.original0": torch.full((4, 1), 12**0.5),
                "parametrizations.w.original1": torch.full((4, 3), 2.0),
            },
        ),
        (pruned, {"w_orig": torch.full((4, 3), 2.0), "w_mask": torch.eye(4, 3)}),
    ],
)
@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_planning_leaves_hooks_and_classes_as_they_were(wrap, wanted, rng):
    model = Rewrapped(wrap)
    initcfg.plan(model)
    assert type(model) is Rewrapped and model.calls == [] and not model._forward_pre_hooks
    initcfg.init_weights(model, seed=0, rng=rng)
    assert model.calls == [wrap.__name__]
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=0, rtol=1e-6)
