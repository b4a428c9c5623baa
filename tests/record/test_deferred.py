"""The deferred build: what is recorded, and what is computed."""

from __future__ import annotations

import copy
import math
import pickle
import resource

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import BuildError, UnusedRuleError
from initcfg.values import (
    Computed,
    Constant,
    CopyOf,
    Eye,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
)


def planned(build):
    with initcfg.deferred():
        model = build()
    return model, initcfg.plan(model)


def holding(make):
    """A module whose parameter ``p`` is what ``make`` returns."""

    def build():
        module = nn.Module()
        module.p = nn.Parameter(make())
        return module

    return build


def in_place(change, *shape):
    def make():
        tensor = torch.empty(*shape)
        change(tensor)
        return tensor

    return holding(make)


TORCH_LAYERS = [
    lambda: nn.Linear(6, 4),
    lambda: nn.Conv2d(4, 6, 3, groups=2),
    lambda: nn.ConvTranspose2d(4, 6, 3),
    lambda: nn.BatchNorm2d(4),
    lambda: nn.GroupNorm(2, 4),
    lambda: nn.LayerNorm(4),
    lambda: nn.Embedding(7, 4, padding_idx=2),
    lambda: nn.EmbeddingBag(7, 4),
    lambda: nn.LSTM(4, 5, num_layers=2, bidirectional=True),
    lambda: nn.GRUCell(4, 5),
    lambda: nn.MultiheadAttention(8, 2),
    lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True),
    lambda: nn.Bilinear(3, 4, 5),
    lambda: nn.PReLU(3),
    lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3),
    lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
    lambda: nn.AdaptiveLogSoftmaxWithLoss(64, 20, [4, 9], div_value=2.0),
]


@pytest.mark.parametrize("build", TORCH_LAYERS, ids=range(len(TORCH_LAYERS)))
def test_replay_with_torch_is_the_eager_build(build):
    torch.manual_seed(7)
    eager = build()
    after = torch.get_rng_state()
    model, plan = planned(build)
    plan.apply(model, seed=7, rng="torch")
    assert torch.equal(torch.get_rng_state(), after)
    for (name, expected), (_, found) in zip(
        eager.state_dict().items(), model.state_dict().items(), strict=True
    ):
        assert torch.equal(expected, found), name


@pytest.mark.parametrize("build", TORCH_LAYERS, ids=range(len(TORCH_LAYERS)))
def test_every_weight_of_torch_layers_is_said_and_written(build):
    model, plan = planned(build)
    assert not any(isinstance(item.value, Computed) or item.value.kind == "Keep" for item in plan.values())
    assert all(item.rule is None and item.default.rule for item in plan.values())
    ledger = plan.apply(model, seed=3)
    assert all(entry.by == "default" for name, entry in ledger.items() if name in plan)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_numbers_of_the_defaults():
    _, plan = planned(lambda: nn.Linear(16, 4))
    assert plan["weight"].value.kind == plan["bias"].value.kind == "Uniform"
    assert _numbers(plan["weight"].value) == pytest.approx([-0.25, 0.25], rel=1e-12)
    assert _numbers(plan["bias"].value) == pytest.approx([-0.25, 0.25], rel=1e-12)
    assert plan["weight"].default.rule == "Linear.reset_parameters"
    assert plan["weight"].default.initializer["type"] == "kaiming_uniform_"
    assert plan["weight"].default.initializer["a"] == math.sqrt(5)


ERFINV = math.erf(1.5 / math.sqrt(2))
VALUES = [
    (holding(lambda: torch.randn(4, 3) * 0.02), Normal(0.0, 0.02)),
    (holding(lambda: torch.rand(4) * 2 - 1), Uniform(-1.0, 1.0)),
    (holding(lambda: torch.zeros(4)), Constant(0.0)),
    (holding(lambda: 1e-5 * torch.ones(4)), Constant(1e-5)),
    (holding(lambda: torch.full((4,), 3.0).neg()), Constant(-3.0)),
    (in_place(lambda t: t.normal_(1.0, 2.0).mul_(2).add_(1), 5), Normal(3.0, 4.0)),
    (in_place(lambda t: t.uniform_(-1, 1).div_(-2), 5), Uniform(-0.5, 0.5)),
    (
        in_place(lambda t: t.uniform_(-ERFINV, ERFINV).erfinv_().mul_(math.sqrt(2)).clamp_(-1.5, 1.5), 5),
        TruncNormal(0.0, math.sqrt(2) / math.sqrt(2.0), -1.5, 1.5),
    ),
    (in_place(lambda t: nn.init.trunc_normal_(t, std=0.02), 4, 3), TruncNormal(0.0, 0.02, -2.0, 2.0)),
    (in_place(lambda t: nn.init.orthogonal_(t, 2.0), 4, 3), Orthogonal(2.0)),
    (in_place(lambda t: nn.init.sparse_(t, 0.5, 0.1), 4, 3), Sparse(0.5, 0.1)),
    (in_place(lambda t: (nn.init.eye_(t), t), 4, 3), Eye()),
    (in_place(lambda t: (t.normal_(), t[1].fill_(0)), 4, 3), PaddingRow(1, Normal(0.0, 1.0))),
    (
        in_place(lambda t: (t.fill_(0), t[2:4].fill_(1)), 8),
        Parts(0, (2, 2, 4), (Constant(0.0), Constant(1.0), Constant(0.0))),
    ),
    (
        in_place(lambda t: (t[:, :2].normal_(), t[:, 2:].zero_(), t), 4, 3),
        Parts(1, (2, 1), (Normal(0.0, 1.0), Constant(0.0))),
    ),
    (in_place(lambda t: nn.init.kaiming_normal_(t.t()), 8, 2), Normal(0.0, math.sqrt(2.0) / math.sqrt(8))),
]


@pytest.mark.parametrize(("build", "value"), VALUES, ids=range(len(VALUES)))
def test_what_is_recorded(build, value):
    model, plan = planned(build)
    if value is None:
        # Two slabs without a base: it cannot be said yet, so it is computed.
        assert plan["p"].value.kind in ("Computed", "Keep")
        assert torch.isfinite(model.p).all()
        return
    found = plan["p"].value
    assert found.kind == value.kind
    assert _numbers(found) == pytest.approx(_numbers(value), rel=1e-6)
    plan.apply(model, seed=0)
    assert torch.isfinite(model.p).all()


def _numbers(value):
    if hasattr(value, "values") and not callable(value.values):
        return [number for each in value.values for number in _numbers(each)]
    return [item for item in value.args.values() if isinstance(item, float)]


def test_reading_computes_and_says_so():
    def build():
        module = nn.Linear(4, 4)
        module.scale = nn.Parameter(torch.ones(1) * module.weight.detach().abs().max().item())
        return module

    torch.manual_seed(0)
    model, plan = planned(build)
    assert isinstance(plan["weight"].value, Computed)
    assert plan["bias"].value.kind == "Uniform"
    assert model.weight.abs().max().item() > 0
    before = model.weight.detach().clone()
    plan.apply(model, seed=0)
    assert torch.equal(before, model.weight)
    with initcfg.deferred():
        model = build()
    with pytest.raises(UnusedRuleError, match="computed while the model was built"):
        initcfg.plan(model, strict=True)


def test_what_is_computed_from_a_weight_follows_it():
    def build():
        module = nn.Linear(4, 4)
        module.scale = nn.Parameter(module.weight.detach().abs().amax(dim=0))
        return module

    model, plan = planned(build)
    assert plan["weight"].value.kind == "Uniform"
    assert plan["scale"].value.kind == "Formula"
    plan.apply(model, seed=0)
    assert torch.equal(model.scale, model.weight.abs().amax(dim=0))
    # The same seed and names, the same numbers; torch's generator as the constructor would.
    again, plan = planned(build)
    plan.apply(again, seed=0)
    assert torch.equal(again.scale, model.scale)
    torch.manual_seed(5)
    eager = build()
    again, plan = planned(build)
    plan.apply(again, seed=5, rng="torch")
    assert torch.equal(again.scale, eager.scale)


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t.numpy().max(),
        lambda t: max(t.tolist()),
        lambda t: t.max().item(),
        lambda t: copy.deepcopy(t.data).max().item(),
        lambda t: pickle.loads(pickle.dumps(t.data)).max().item(),
    ],
)
def test_every_way_of_reading_sees_the_numbers(read):
    with initcfg.deferred():
        tensor = torch.empty(64).uniform_(2.0, 3.0)
        seen = read(tensor.detach())
    assert 2.0 <= seen <= 3.0
    assert seen == tensor.max().item()


def test_data_that_a_constructor_copies_in_is_written():
    def build():
        module = nn.Linear(3, 1)
        module.weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
        return module

    model, plan = planned(build)
    assert plan["weight"].value.kind == "Formula"
    plan.apply(model, seed=0)
    assert model.weight.tolist() == [[1.0, 2.0, 3.0]]


def test_buffers_are_real():
    def build():
        module = nn.BatchNorm1d(3)
        module.register_buffer("noise", torch.rand(100) + 1)
        return module

    with initcfg.deferred():
        model = build()
    assert model.running_var.tolist() == [1.0, 1.0, 1.0]
    assert 1 <= model.noise.min() < model.noise.max() <= 2


def test_copies_are_equal_and_do_not_wait_for_each_other():
    build = TORCH_LAYERS[15]
    model, plan = planned(build)
    name = "layers.{}.linear1.weight"
    assert plan[name.format(0)].value.kind == "Uniform"
    assert plan[name.format(2)].value == CopyOf(name.format(0), plan[name.format(0)].value)
    plan.apply(model, seed=0)
    assert torch.equal(model.layers[0].linear1.weight, model.layers[2].linear1.weight)
    # A rule on the source leaves the copies what they were.
    other, _ = planned(build)
    initcfg.init_weights(other, dict(type="Constant", name="layers.0", layer="Linear", val=1), seed=0)
    assert torch.equal(model.layers[2].linear1.weight, other.layers[2].linear1.weight)


def test_no_constructor_notices():
    seen = []

    class Curious(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(3))
            seen.append(
                (self.w.device.type, type(self.w), self.w.is_meta, self.w.requires_grad, self.w.dtype)
            )
            if self.w.device.type != "meta":
                nn.init.ones_(self.w)

    _, plan = planned(Curious)
    assert seen == [("cpu", nn.Parameter, False, True, torch.float32)]
    assert plan["w"].value == Constant(1.0)


def test_everything_is_put_back():
    before = (nn.init.orthogonal_, nn.init._no_grad_trunc_normal_, nn.Module.__setstate__, torch.Tensor.numpy)
    with pytest.raises(ZeroDivisionError), initcfg.deferred():
        _ = 1 / 0
    with initcfg.deferred(), pytest.raises(BuildError, match="inside of another"), initcfg.deferred():
        pass
    assert before == (
        nn.init.orthogonal_,
        nn.init._no_grad_trunc_normal_,
        nn.Module.__setstate__,
        torch.Tensor.numpy,
    )
    assert torch.empty(3).fill_(2.0).tolist() == [2.0, 2.0, 2.0]


def test_json_plan_onto_a_pending_model():
    build = TORCH_LAYERS[15]
    first, plan = planned(build)
    plan.apply(first, seed=1)
    second, _ = planned(build)
    initcfg.Plan.from_json(plan.to_json()).apply(second, seed=1)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    third, _ = planned(build)
    eager = initcfg.plan(build())
    with pytest.raises(initcfg.errors.ApplyError, match="holds nothing yet"):
        eager.apply(third, seed=1)


def test_the_memory_is_not_touched_while_building():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with initcfg.deferred():
        model = nn.Sequential(*(nn.Linear(10_000, 10_000, bias=False) for _ in range(10)))
    assert sum(each.numel() for each in model.parameters()) == 10**9
    assert {item.value.kind for item in initcfg.plan(model).values()} == {"Uniform"}
    # 4 GB of weights; in kB here, and in bytes on macOS, where the bound is only looser.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000


@pytest.mark.parametrize(
    "expose",
    [
        lambda t: t.numpy().__setitem__(slice(None), 7.0),
        lambda t: np.asarray(t).__setitem__(slice(None), 7.0),
        lambda t: torch.from_dlpack(t).fill_(7.0),
    ],
    ids=["numpy", "asarray", "from_dlpack"],
)
@pytest.mark.parametrize("fill", [nn.init.zeros_, nn.init.normal_])
def test_writes_through_an_address_stay(expose, fill):
    """What a constructor writes where no operation is seen is kept; nothing planned overwrites it."""

    def build():
        module = nn.Module()
        module.p = nn.Parameter(torch.empty(4))
        fill(module.p)
        expose(module.p.detach())
        module.twice = nn.Parameter(module.p.detach() * 2)
        return module

    model, plan = planned(build)
    assert plan["p"].value.kind in ("Keep", "Computed")
    plan.apply(model, seed=0)
    assert model.p.tolist() == [7.0] * 4
    assert model.twice.tolist() == [14.0] * 4
