"""From the meta device to a ready model, in one process."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import initcfg
from initcfg.errors import ApplyError, LazyParameterError, TensorError
from initcfg.values import Constant, Normal, Uniform

RULES = dict(type="Normal", layer="Linear", std=0.02)


class Rotary(nn.Module):
    """A buffer that only the constructor can make."""

    def __init__(self, width=8):
        super().__init__()
        self.proj = nn.Linear(width, width)
        self.register_buffer("inv_freq", 1.0 / 10000 ** (torch.arange(0, width, 2) / width), persistent=False)
        self.register_buffer("mask", torch.ones(4, 4, dtype=torch.bool).tril())
        self.scale = nn.Parameter(torch.full((width,), 0.1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.zeros(3))
        self.other = nn.Module()
        self.other.register_buffer("steps", self.steps)


def on_meta(build):
    with torch.device("meta"):
        return build()


def state(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def assert_same(model, other):
    assert state(model).keys() == state(other).keys()
    for name, tensor in state(model).items():
        assert not tensor.is_meta
        assert torch.equal(tensor, state(other)[name]), name


@pytest.mark.parametrize("build", [Rotary, Tied, lambda: nn.Transformer(8, 2, 1, 2, 16, batch_first=True)])
def test_with_the_plan_of_the_code_everything_is_as_built(build):
    plan = initcfg.trace(build)
    model = on_meta(build)
    other = build()
    initcfg.materialize(model, plan=plan, seed=3)
    plan.apply(other, seed=3)
    assert_same(model, other)


def test_what_torchs_layers_do_by_themselves():
    def build():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.Linear(8, 4),
            nn.LayerNorm(4),
            nn.Embedding(5, 4, padding_idx=1),
        )

    model = on_meta(build)
    plan = initcfg.plan(model, RULES)
    assert plan["0.bias"].value == Uniform(-1 / math.sqrt(27), 1 / math.sqrt(27))
    assert plan["2.weight"].value == Normal(0.0, 0.02)
    assert plan["3.weight"].value == Constant(1.0)
    assert plan["1.running_var"].value == Constant(1.0)
    with initcfg.deferred():
        other = build()
    ledger = initcfg.materialize(model, RULES, seed=0)
    initcfg.init_weights(other, RULES, seed=0)
    assert_same(model, other)
    assert ledger["0.bias"].by == "default" and ledger["2.weight"].by == "rule"
    assert model[1].num_batches_tracked.item() == 0
    assert model[4].weight[1].tolist() == [0.0] * 4


def test_a_built_model_that_is_deferred_needs_no_more():
    with initcfg.deferred():
        model = Rotary()
    ledger = initcfg.materialize(model, RULES, seed=0)
    assert ledger["scale"].value == Constant(pytest.approx(0.1))
    assert model.mask.sum() == 10
    assert model.scale.unique().numel() == 1


def test_ties_and_attributes_stay():
    model = on_meta(Tied)
    model.embed.weight.decays = False
    model.head.weight.requires_grad_(False)
    initcfg.materialize(model, plan=initcfg.trace(Tied), seed=0)
    assert model.head.weight is model.embed.weight
    assert model.steps is model.other.steps
    assert model.embed.weight.decays is False
    assert not model.head.weight.requires_grad


class Secret(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.apply(self._init)

    @staticmethod
    def _init(module):
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)


class Known(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.init_weights()

    def init_weights(self):
        nn.init.ones_(self.fc.weight)


@pytest.mark.parametrize(
    ("build", "code"),
    [(Secret, "Secret.__init__"), (Loop, "Loop.__init__"), (Known, "Known.init_weights")],
)
def test_what_a_constructor_may_have_meant_is_not_guessed(build, code):
    for make in (build, lambda: nn.Sequential(build())):
        model = on_meta(make)
        with pytest.raises(ApplyError) as caught:
            initcfg.materialize(model, seed=0)
        assert code in str(caught.value) and "initcfg.trace(build)" in str(caught.value)
        assert all(tensor.is_meta for tensor in model.parameters())
        initcfg.materialize(model, plan=initcfg.trace(make), seed=0)
        other = make()
        initcfg.trace(make).apply(other, seed=0)
        assert_same(model, other)


def test_rules_may_say_what_is_lost():
    model = on_meta(Secret)
    initcfg.materialize(model, dict(type="Normal", layer="Linear", std=0.02, bias=0.25), seed=0)
    assert model.fc.bias.tolist() == [0.25] * 4


def test_buffers_that_nobody_knows_are_an_error_before_anything_is_done():
    model = on_meta(Rotary)
    with pytest.raises(ApplyError, match=r"3 tensors of this model should hold: scale, inv_freq, mask"):
        initcfg.materialize(model, RULES, seed=0)
    assert all(tensor.is_meta for tensor in state(model).values())
    with pytest.raises(ApplyError, match="2 buffers"):
        initcfg.materialize(model, [RULES, dict(type="Constant", param="scale", val=0.1)], seed=0)


def test_layers_that_share_a_tensor_and_differ_are_not_guessed():
    with pytest.raises(ApplyError, match="one of its owners, embed and head"):
        initcfg.materialize(on_meta(Tied), seed=0)


def test_own_init_weights_of_configured_modules_run():
    class Head(initcfg.BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.fc = nn.Linear(4, 4)
            self.register_buffer("table", torch.arange(4.0))

        def init_weights(self):
            super().init_weights()
            nn.init.constant_(self.fc.bias, 0.5)
            with torch.no_grad():
                self.table.copy_(torch.arange(4.0))

    model = on_meta(lambda: Head(init_cfg=dict(type="Normal", layer="Linear", std=0.02)))
    initcfg.materialize(model, seed=0)
    assert model.fc.bias.tolist() == [0.5] * 4
    assert model.table.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert 0.005 < model.fc.weight.std() < 0.04


def test_the_device_of_real_tensors_and_of_types():
    model = on_meta(lambda: nn.Linear(4, 4, dtype=torch.bfloat16))
    initcfg.materialize(model, RULES, device="cpu", seed=0)
    assert model.weight.dtype == torch.bfloat16 and model.weight.device.type == "cpu"
    again = nn.Linear(4, 4)
    initcfg.materialize(again, RULES, seed=0)
    assert torch.equal(again.weight.to(torch.bfloat16), model.weight)


def test_what_is_refused():
    with pytest.raises(ApplyError, match="Give one of them"):
        initcfg.materialize(nn.Linear(2, 2), RULES, plan=initcfg.plan(nn.Linear(2, 2)))
    with pytest.raises(ApplyError, match=r"takes a torch\.nn\.Module"):
        initcfg.materialize([nn.Linear(2, 2)])  # type: ignore[arg-type]
    model = on_meta(lambda: nn.Linear(4, 4))
    with pytest.raises(ApplyError, match="was made for another model"):
        initcfg.materialize(model, plan=initcfg.plan(nn.Sequential(nn.Linear(4, 4))))
    with pytest.raises(ApplyError, match="float32 of shape"):
        initcfg.materialize(model, plan=initcfg.trace(lambda: nn.Linear(4, 5)))
    assert model.weight.is_meta
    with pytest.raises(LazyParameterError):
        initcfg.materialize(on_meta(lambda: nn.LazyLinear(3)))
    with pytest.raises(TensorError, match=r"initcfg\.materialize"):
        initcfg.init_weights(model, RULES)


def test_parametrized_weights():
    def build():
        return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4))

    plan = initcfg.trace(build)
    model, other = on_meta(build), build()
    initcfg.materialize(model, plan=plan, seed=1)
    plan.apply(other, seed=1)
    assert torch.equal(model[0].weight, other[0].weight)
    with pytest.raises(ApplyError, match=r"0\.weight"):
        initcfg.materialize(on_meta(build), seed=1)


def test_fsdp_modules_that_own_pending_parameters():
    """Sharding replaces parameters, and moving swaps tensors: what was meant is found after both."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    whole = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    initcfg.trace(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))).apply(whole, seed=2)
    torch.distributed.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("seen by rank 1",))
        for module in (*model, model):
            fully_shard(module, mesh=mesh)
        with pytest.raises(initcfg.errors.PendingModelError):
            model(torch.zeros(1, 4))
        ledger = initcfg.materialize(model, seed=2)
        assert {entry.by for entry in ledger.values()} == {"default"}
        for here, there in zip(model.parameters(), whole.parameters(), strict=True):
            assert torch.equal(here.to_local(), there[2:])
    finally:
        torch.distributed.destroy_process_group()
