"""SignalPreserving: the scale of every output, by shapes alone and by a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import initcfg
from initcfg._model.moments.distribution import Distribution, combined, gaussian
from initcfg.errors import ArgumentError, ArgumentValueError, RoleError


def batch(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def outputs(model: nn.Module, inputs: Any) -> dict[str, float]:
    """The standard deviation of what each layer with a weight puts out."""
    found: dict[str, float] = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):

            def hook(_: Any, __: Any, output: torch.Tensor, name: str = name) -> None:
                found[name] = float(output.detach().std())

            module.register_forward_hook(hook)
    with torch.no_grad():
        model(inputs)
    return found


def check(model: nn.Module, inputs: torch.Tensor, within: float = 0.25) -> None:
    initcfg.init_weights(model, dict(type="SignalPreserving", example=inputs), seed=0)
    found = outputs(model, inputs)
    assert found
    assert {name: each for name, each in found.items() if abs(each - 1) > within} == {}


# More of them, and models, are in benchmarks/signal_scale.py.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
    "cosine": torch.cos,
    "tanh": torch.tanh,
    "relu": F.relu,
    "swish by hand": lambda x: x * torch.sigmoid(1.7 * x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_thirty_layers(name: str) -> None:
    """What a finite width does adds up: without it, hardswish was at 3.5 and silu at 1.8."""
    layers = [each for _ in range(30) for each in (nn.Linear(128, 128), Function(ACTIVATIONS[name]))]
    check(nn.Sequential(*layers), batch(1024, 128))


def test_how_far_samples_drift_apart() -> None:
    """A sample's size of SiLU, by moments and in a model that was drawn; and that it is said."""
    model = nn.Sequential(*[each for _ in range(20) for each in (nn.Linear(64, 64), nn.SiLU())])
    rule = dict(type="SignalPreserving", example=batch(8, 64))
    plan = initcfg.plan(model, rule)
    (note,) = [each for each in plan.notes if "drift apart" in each]
    assert "at 38.weight" in note
    said = float(note.partition("a factor of ")[2].partition(" ")[0])
    plan.apply(model, seed=0)
    with torch.no_grad():
        outputs = model[:-1](batch(4096, 64))
    assert said == pytest.approx(math.exp(outputs.square().mean(1).log().std() / 2), rel=0.2)
    # A norm gives every sample the same size, and tanh nearly so.
    for made in (nn.LayerNorm(64), nn.Tanh()):
        model = nn.Sequential(*[each for _ in range(20) for each in (nn.Linear(64, 64), made)])
        assert not [each for each in initcfg.plan(model, rule).notes if "drift apart" in each]


class Gated(nn.Module):
    """A gated MLP with a residual add, after a norm that is written by hand."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(size))
        self.fused, self.down = nn.Linear(size, 4 * size), nn.Linear(2 * size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain
        gate, up = self.fused(normed).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Convolutions(nn.Module):
    """A residual network without norms, with a concatenation and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(8))
        self.pool, self.wide = nn.MaxPool2d(2), nn.Conv2d(64, 64, 1)
        self.side, self.head = nn.Conv2d(32, 32, 3), nn.Linear(64, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        for block in self.blocks:
            x = (x + block(x)).relu()
        x = torch.cat([x[..., 1:-1, 1:-1], self.side(x)], 1)
        return self.head(self.pool(self.wide(x)).relu().mean((2, 3)))


def test_residuals_gates_norms_convolutions() -> None:
    check(nn.Sequential(nn.Linear(64, 64), *[Gated(64) for _ in range(6)]), batch(64, 16, 64))
    check(Convolutions(), batch(16, 3, 32, 32))


@pytest.mark.parametrize("norm_first", [True, False])
def test_transformers_with_an_embedding(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=norm_first)
    model = nn.Sequential(nn.Embedding(100, 64), nn.TransformerEncoder(layer, 4, enable_nested_tensor=False))
    ids = torch.randint(0, 100, (16, 32), generator=torch.Generator().manual_seed(0))
    check(model, ids)


def test_the_moments_of_functions_and_sums() -> None:
    normal = gaussian(1.0, 0.3)
    relu = Distribution(normal.values.relu(), normal.source)
    assert (relu.second, relu.mean) == pytest.approx((0.5, 0.3989), rel=3e-3)
    # The product of two rectified Gaussians of correlation 0.3 (Cho & Saul 2009).
    assert relu.common == pytest.approx(0.2412, rel=0.01)
    summed = combined(torch.add, relu, gaussian(1.0, 0.1))
    assert (summed.second, summed.mean) == pytest.approx((relu.second + 1.0, relu.mean), rel=1e-6)
    assert summed.common == pytest.approx(relu.common + 0.1, rel=1e-6)
    assert gaussian(1.0).largest(9).mean == pytest.approx(1.485, rel=0.02)


def test_what_no_scale_keeps_is_a_note() -> None:
    layers = [each for _ in range(10) for each in (nn.Linear(64, 64), nn.Tanh())]
    plan = initcfg.plan(nn.Sequential(*layers), dict(type="SignalPreserving", example=batch(8, 64)))
    (note,) = [each for each in plan.notes if "gradients are multiplied" in each]
    assert "over 9)" in note and "no scale of weights keeps both" in note
    linear = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
    assert not initcfg.plan(linear, dict(type="SignalPreserving", example=batch(8, 64))).notes


def test_the_plan_is_plain_and_later_rules_win() -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64))
    rules = [
        dict(type="SignalPreserving", example=batch(8, 32), std=2),
        dict(type="Constant", val=3, bias=1, name="2"),
    ]
    plan = initcfg.plan(model, rules)
    assert str(plan["0.weight"].value) == "Orthogonal(gain=2.828)"
    assert str(plan["0.bias"].value) == "Constant(0)" and str(plan["2.weight"].value) == "Constant(3)"
    again = type(plan).from_json(plan.to_json())
    again.apply(model, seed=0)
    assert float(model[0](batch(4096, 32)).detach().std()) == pytest.approx(2.0, rel=0.05)
    # Nothing of the model was run or changed while planning.
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64))
    assert initcfg.plan(empty, rules)["0.weight"].value == plan["0.weight"].value


def test_by_a_batch() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
    model = nn.Sequential(nn.Embedding(50, 32), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    draw = torch.Generator().manual_seed(0)
    ids, fresh = (torch.randint(0, 50, (32, 16), generator=draw) for _ in range(2))
    ledger = initcfg.init_weights(model, dict(type="SignalPreserving", mode="empirical", batch=ids), seed=0)
    assert all(abs(each - 1) < 0.1 for each in outputs(model, fresh).values())
    assert ledger["1.layers.0.self_attn.in_proj_weight"].computed is not None
    assert ledger.plan.seed == 0


@pytest.mark.parametrize("name", ["silu", "mish", "softplus", "relu"])
def test_thirty_layers_by_a_batch(name: str) -> None:
    """Within a tenth on fresh data, for which the mean must not grow: uncentered, silu was at 1.7."""
    layers = [each for _ in range(30) for each in (nn.Linear(128, 128), Function(ACTIVATIONS[name]))]
    model = nn.Sequential(*layers)
    seen, fresh = batch(4096, 128).chunk(2)
    rule = dict(type="SignalPreserving", mode="empirical", batch=seen)
    ledger = initcfg.init_weights(model, rule, seed=0)
    assert {name: each for name, each in outputs(model, fresh).items() if abs(each - 1) > 0.1} == {}
    # The mean is out of the weights, and the finished plan says so.
    assert float(model[4].weight.detach().mean(1).abs().max()) < 1e-6
    assert (
        "less the mean" in str(ledger["4.weight"].computed) and ledger["0.weight"].value.kind == "Orthogonal"
    )
    other = nn.Sequential(*[each for _ in range(30) for each in (nn.Linear(128, 128), nn.SiLU())])
    ledger.plan.apply(other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    if name == "silu":
        assert "no scale brings them together" in str(ledger["58.weight"].computed)
        (note,) = [each for each in initcfg.plan(model, rule).notes if "drift apart" in each]
        assert "at 58.weight" in note
        assert not [
            each for each in initcfg.plan(model, dict(rule, batch=lambda: seen)).notes if "drift" in each
        ]


def gradients(model: nn.Sequential, inputs: torch.Tensor) -> list[float]:
    """The standard deviations of the gradients of what linear layers put out."""
    kept: list[torch.Tensor] = []
    for layer in model:
        inputs = layer(inputs)
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            inputs.retain_grad()
            kept.append(inputs)
    inputs.backward(torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1)))
    return [float(each.grad.std()) for each in kept if each.grad is not None]


def test_gradients_keep_their_scale() -> None:
    layers = [each for _ in range(20) for each in (nn.Linear(128, 128), nn.Tanh())]
    model, inputs = nn.Sequential(*layers[:-1]), batch(512, 128)
    rule = dict(type="SignalPreserving", example=inputs)
    found: dict[str, list[float]] = {}
    stds: dict[str, float] = {}
    for preserve in ("forward", "backward", "both"):
        plan = initcfg.plan(model, dict(rule, preserve=preserve))
        plan.apply(model, seed=0)
        found[preserve] = gradients(model, inputs)
        stds[preserve] = float(model[36].weight.detach().std())
        said = " ".join(plan.notes)
        assert ("outputs do not keep their scale" in said) == (preserve != "forward")
    assert all(abs(each / found["backward"][-1] - 1) < 0.15 for each in found["backward"])
    assert found["forward"][0] > 4 > 1.1 > found["backward"][0]
    assert stds["backward"] < stds["both"] < stds["forward"]
    # The first weight has no gradient to keep: it keeps the output.
    assert float(model[0](inputs).detach().std()) == pytest.approx(1.0, rel=0.05)
    # Of equal scales, the geometric mean is the same; of 4 to 1 channels, the root of 2 of either.
    wide = nn.Sequential(nn.Linear(64, 256), nn.Identity(), nn.Linear(256, 64))
    both = [
        initcfg.plan(wide, dict(type="SignalPreserving", example=batch(8, 64), preserve=each))["2.weight"]
        for each in ("forward", "backward", "both")
    ]
    gains = [each.value.args["gain"] for each in both]
    assert gains[1] == pytest.approx(gains[0] * 2) and gains[2] == pytest.approx(gains[0] * math.sqrt(2))


def test_gradients_of_convolutions() -> None:
    """A stride takes gradients from fewer places, and a kernel gives to more."""
    layers = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU()]
    model, inputs = nn.Sequential(*layers, nn.Conv2d(64, 32, 5)), batch(8, 3, 64, 64)
    initcfg.init_weights(model, dict(type="SignalPreserving", example=inputs, preserve="backward"), seed=0)
    found = gradients(model, inputs)
    assert all(each == pytest.approx(found[-1], rel=0.15) for each in found)


def test_residual_outputs() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=True)
    model = nn.Sequential(nn.Embedding(50, 64), nn.TransformerEncoder(layer, 8, enable_nested_tensor=False))
    seen, fresh = (torch.randint(0, 50, (32, 16), generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    ways = (dict(example=seen), dict(mode="empirical", batch=seen))
    for way, within in zip(ways, (0.25, 0.1), strict=True):
        rule = dict(type="SignalPreserving", residual="1/sqrt(residuals)", **way)
        initcfg.init_weights(model, rule, seed=0)
        found = outputs(model, fresh)
        for name, each in found.items():
            target = 0.25 if name.endswith(("linear2", "out_proj")) else 1.0
            assert each == pytest.approx(target, rel=within), name


def test_wrong_arguments() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(ArgumentError, match="mode='empirical' needs a batch"):
        initcfg.plan(model, dict(type="SignalPreserving", mode="empirical"))
    with pytest.raises(ArgumentError, match="mode='analytic' looks at no batch"):
        initcfg.plan(model, dict(type="SignalPreserving", batch=batch(2, 4)))
    with pytest.raises(ArgumentError, match="preserve='both': a batch tells of outputs"):
        rule = dict(type="SignalPreserving", mode="empirical", batch=batch(2, 4), preserve="both")
        initcfg.plan(model, rule)
    with pytest.raises(ArgumentValueError, match="std must be above 0"):
        initcfg.plan(model, dict(type="SignalPreserving", example=batch(2, 4), std=0))
    with pytest.raises(RoleError, match="what it takes as input is not known"):
        initcfg.plan(model, dict(type="SignalPreserving"))
    with pytest.raises(RoleError, match="cannot be run without memory"):
        initcfg.plan(model, dict(type="SignalPreserving", example=batch(2, 5)))
