"""Traced code: what it becomes, and that it gives the code's own bits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import initcfg
from initcfg.errors import ApplyError, BuildError
from initcfg.values import (
    Constant,
    Dirac,
    Eye,
    Formula,
    Keep,
    Normal,
    Opaque,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
)


def scaled_by_depth(module):
    for depth, layer in enumerate(module):
        layer.weight.data.normal_(0, 0.02).div_(math.sqrt(2.0 * (depth + 1)))


def erfinv_trunc_(tensor, std):
    """timm's: what torch's own did before it was one function."""
    bound = math.erf(2 / math.sqrt(2))
    tensor.uniform_(-bound, bound)
    tensor.erfinv_().mul_(std * math.sqrt(2.0)).add_(0.0)
    return tensor.clamp_(min=-2 * std, max=2 * std)


def by_gathering_(tensor, std):
    """Truncation as many papers' code has it: four draws, and the first that is within two."""
    four = tensor.new_empty((*tensor.shape, 4)).normal_()
    index = ((four < 2) & (four > -2)).max(-1, keepdim=True)[1]
    tensor.data.copy_(four.gather(-1, index).squeeze(-1))
    tensor.data.mul_(std)


def by_rejection_(tensor):
    """A loop that looks at what was drawn."""
    with torch.no_grad():
        tensor.normal_()
        while (bad := tensor.abs() > 1).any():
            tensor[bad] = torch.randn(int(bad.sum()))


def linear(change, *shape):
    """A module with a parameter ``p`` of this shape, changed by ``change``."""

    def build():
        module = nn.Module()
        module.p = nn.Parameter(torch.empty(*shape or (64, 32)))
        with torch.no_grad():
            change(module.p)
        return module

    return build


LOG_TEN = Constant(float(np.float32(math.log(10))))
SYMBOLIC = {
    "normal": (linear(lambda p: nn.init.normal_(p, 1.0, 0.5)), Normal(1.0, 0.5)),
    "data": (linear(lambda p: p.data.uniform_(-1, 2)), Uniform(-1.0, 2.0)),
    "scaled": (linear(lambda p: p.normal_().mul_(0.02).add_(1)), Normal(1.0, 0.02)),
    "trunc": (linear(lambda p: nn.init.trunc_normal_(p, std=0.02)), TruncNormal(0.0, 0.02, -2.0, 2.0)),
    "erfinv": (linear(lambda p: erfinv_trunc_(p, 0.02)), TruncNormal(0.0, 0.02, -0.04, 0.04)),
    "orthogonal": (linear(lambda p: nn.init.orthogonal_(p, 2.0)), Orthogonal(2.0)),
    "eye": (linear(nn.init.eye_), Eye()),
    "dirac": (linear(nn.init.dirac_, 8, 4, 3), Dirac()),
    "sparse": (linear(lambda p: nn.init.sparse_(p, 0.5)), Sparse(0.5, 0.01)),
    "padding": (linear(lambda p: (p.normal_(), p[3].zero_())), PaddingRow(3, Normal(0.0, 1.0))),
    "fused": (
        linear(lambda p: (p[:32].normal_(std=0.5), p[32:].zero_())),
        Parts(0, (32, 32), (Normal(0.0, 0.5), Constant(0.0))),
    ),
    "chunks": (
        linear(lambda p: [nn.init.xavier_uniform_(each) for each in p.chunk(2)]),
        Parts(0, (32, 32), (Uniform(-math.sqrt(6 / 64), math.sqrt(6 / 64)),) * 2),
    ),
    "copied": (linear(lambda p: p.copy_(torch.zeros(64, 32))), Constant(0.0)),
    "made": (linear(lambda p: p.set_((torch.randn(64, 32) * 0.02).data)), Normal(0.0, 0.02)),
    "log": (
        linear(lambda p: p.copy_((10 * torch.ones(64, 32)).log())),
        Constant(float(np.float32(math.log(10)))),
    ),
}


@pytest.mark.parametrize(("build", "value"), SYMBOLIC.values(), ids=SYMBOLIC)
def test_what_code_becomes(build, value):
    found = initcfg.trace(build)["p"].value
    if not isinstance(value, (Uniform, TruncNormal, Parts)):
        assert found == value
        return
    assert found.kind == value.kind
    if isinstance(value, Parts):
        assert (found.dim, found.sizes) == (value.dim, value.sizes)
        assert [each.kind for each in found.values] == [each.kind for each in value.values]
    else:
        assert list(found.args.values()) == pytest.approx(list(value.args.values()), rel=1e-6)


FORMULAS = {
    "gathered": linear(lambda p: by_gathering_(p, 0.02)),
    "normalized": linear(lambda p: p.copy_(nn.functional.normalize(torch.randn(64, 32), dim=1))),
    "qr": linear(lambda p: p.copy_(torch.linalg.qr(torch.randn(64, 32))[0])),
    "masked": linear(lambda p: p.normal_().mul_(torch.tril(torch.ones(64, 32)))),
    "bernoulli": linear(lambda p: p.bernoulli_(0.3)),
    "exponential": linear(lambda p: p.exponential_(2.0)),
    "permuted": linear(lambda p: p.copy_(torch.randperm(64 * 32).view(64, 32).float())),
    "dt": linear(lambda p: p.copy_(torch.exp(torch.rand(64, 32) * 4.6 - 6.9).clamp(min=1e-4))),
    "half of it": linear(lambda p: (p.normal_(), p[:, ::2].mul_(0.5))),
}
PLAIN = {
    "linspace": linear(lambda p: p.copy_(torch.linspace(1, 10, 64).log()), 64),
    "arange": linear(lambda p: p.copy_(torch.arange(1, 33).float().log().expand(64, 32))),
    "sines": linear(lambda p: p[:, 0::2].copy_(torch.sin(torch.arange(64)[:, None] * torch.ones(16)))),
}


@pytest.mark.parametrize("name", [*FORMULAS, *PLAIN])
def test_formulas_are_small_and_right(name):
    build = {**FORMULAS, **PLAIN}[name]
    plan = initcfg.trace(build)
    value = plan["p"].value
    assert isinstance(value, Formula)
    assert len(json.dumps(initcfg.Plan.to_json(plan)["parameters"]["p"]["value"])) <= 1024
    torch.manual_seed(0)
    expected = build().p.detach()
    other = build()
    # Also from JSON: a formula is data.
    initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json()))).apply(other, seed=5)
    if name in PLAIN:
        assert not value.random
        if name != "sines":
            assert torch.equal(other.p, expected)
        return
    assert value.random
    one, two = expected.flatten().numpy(), other.p.detach().flatten().numpy()
    assert not np.array_equal(one, two)
    assert scipy.stats.ks_2samp(one, two).pvalue > 1e-3


def tied():
    module = nn.Module()
    module.embed, module.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    module.head.weight = module.embed.weight
    return module


BUILDS = {
    **{name: build for name, (build, _) in SYMBOLIC.items()},
    **FORMULAS,
    "rejected": linear(by_rejection_),
    "depth": lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
    "norm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)),
    "numpy": linear(lambda p: p.copy_(torch.from_numpy(np.arange(2048.0).reshape(64, 32)))),
    "tied": tied,
}


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("deferred", [False, True])
def test_with_torch_it_is_the_code_itself(name, deferred):
    build = BUILDS[name]
    torch.manual_seed(11)
    expected = build()
    after = torch.get_rng_state()
    plan = initcfg.trace(build)
    if deferred:
        with initcfg.deferred():
            model = build()
    else:
        model = build()
    torch.manual_seed(11)
    ledger = plan.apply(model, rng="torch")
    assert torch.equal(torch.get_rng_state(), after)
    for (key, one), (_, two) in zip(expected.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(one, two), key
    assert set(plan) <= set(ledger)


def test_code_that_looks_is_opaque_and_runs():
    build = linear(by_rejection_)
    plan = initcfg.trace(build)
    value = plan["p"].value
    assert isinstance(value, Opaque)
    assert "test_trace.py" in value.code and "looks at its random numbers" in value.code
    # Whatever it does after that may depend on them.
    assert plan.notes
    assert all("test_trace.py:" in note and "looks at random numbers" in note for note in plan.notes)
    model, other = build(), build()
    ledger = plan.apply(model, seed=3)
    plan.apply(other, seed=3)
    assert ledger["p"].by == "code"
    assert torch.equal(model.p, other.p)
    assert model.p.abs().max() <= 1
    plan.apply(other, seed=4)
    assert not torch.equal(model.p, other.p)
    with pytest.raises(ApplyError, match="code"):
        initcfg.Plan.from_json(plan.to_json()).apply(other, seed=3)


def test_memory_that_was_handed_out_is_opaque():
    def build():
        module = nn.Linear(4, 4)
        module.weight.data.numpy()[:] = 3.0
        return module

    plan = initcfg.trace(build)
    assert "handed out" in plan["weight"].value.code
    model = nn.Linear(4, 4)
    plan.apply(model, seed=0)
    assert model.weight.unique().tolist() == [3.0]
    assert plan["bias"].value.kind == "Uniform"


def test_depth_gives_each_layer_its_own_value():
    model = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    plan = initcfg.trace(scaled_by_depth, model)
    assert [plan[f"{depth}.weight"].value for depth in range(3)] == [
        Normal(0.0, 0.02 * (1 / math.sqrt(2.0 * (depth + 1)))) for depth in range(3)
    ]
    assert isinstance(plan["0.bias"].value, Keep)


def test_where_it_was_decided():
    plan = initcfg.trace(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
    linear_, norm = plan["0.weight"], plan["1.weight"]
    assert linear_.rule.startswith("torch/nn/modules/linear.py:")
    assert linear_.rule.endswith(" Linear.reset_parameters")
    assert linear_.initializer == {
        "type": "kaiming_uniform_",
        "a": math.sqrt(5),
        "mode": "fan_in",
        "nonlinearity": "leaky_relu",
    }
    assert norm.initializer == {"type": "ones_"}
    # A helper does what its caller decided.
    plan = initcfg.trace(linear(lambda p: erfinv_trunc_(p, 0.02)))
    assert plan["p"].rule.startswith("test_trace.py:") or "/test_trace.py:" in plan["p"].rule
    assert plan["p"].initializer == {"type": "erfinv_trunc_", "std": 0.02}


def test_buffers_are_in_the_plan():
    plan = initcfg.trace(lambda: nn.BatchNorm2d(3))
    assert plan["running_var"].value == Constant(1.0)
    assert plan["num_batches_tracked"].value == Constant(0.0)
    model = nn.BatchNorm2d(3)
    model.running_var.fill_(7)
    model.num_batches_tracked.fill_(7)
    plan.apply(model, seed=0)
    assert model.running_var.tolist() == [1.0] * 3
    assert model.num_batches_tracked.item() == 0


# -- what is refused -----------------------------------------------------------------------------


def test_bad_calls_say_so():
    with pytest.raises(BuildError, match="returned NoneType"):
        initcfg.trace(lambda: None)
    with pytest.raises(BuildError, match="takes a function"):
        initcfg.trace(nn.Linear(2, 2).weight)  # type: ignore[arg-type]
    model = nn.Linear(2, 2)
    with pytest.raises(BuildError, match=r"initcfg.trace\(init, model\)"):
        initcfg.trace(lambda: nn.init.zeros_(model.weight) and model)
    with pytest.raises(BuildError, match="inside of another"):
        initcfg.trace(lambda: initcfg.trace(lambda: nn.Linear(2, 2)))
    with pytest.raises(ApplyError, match="no record of the draws"):
        initcfg.Plan.from_json(initcfg.trace(lambda: nn.Linear(2, 2)).to_json()).apply(model, rng="torch")


def test_hostile_formulas_are_refused():
    for program in (
        [["from_file", "x"], ["result", "$0"]],
        [["manual_seed", 3], ["value", [2], "float32", 0.0], ["result", "$0"]],
        [["save", "x"], ["result", "$0"]],
        [["op"]],
        [["value", [2], "float32", 0.0], ["result", "$7"]],
        [["nonesuch", 1], ["result", "$0"]],
        [["value", [3], "float32", 0.0], ["result", "$0"]],
        [],
    ):
        plan = initcfg.trace(linear(lambda p: p.zero_(), 2))
        data = plan.to_json()
        data["parameters"]["p"]["value"] = {"kind": "Formula", "program": program}
        model = linear(lambda p: p.zero_(), 2)()
        with pytest.raises((ApplyError, initcfg.errors.PlanError)):
            initcfg.Plan.from_json(data).apply(model, seed=0)
