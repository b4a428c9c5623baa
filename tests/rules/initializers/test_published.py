"""What papers name, tensor by tensor: against formulas, reference code, properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from scipy.linalg import hadamard
from torch import nn

import initcfg
from initcfg import errors
from initcfg.values import Constant, Normal, Orthogonal, Parts, Uniform, Value


def planned(module: nn.Module, name: str = "weight", **rule: Any) -> Value:
    return initcfg.plan(module, rule)[name].value


def made(module: nn.Module, name: str = "weight", **rule: Any) -> torch.Tensor:
    initcfg.init_weights(module, rule, seed=1)
    return module.get_parameter(name).detach()


def raw(*shape: int) -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(torch.full(shape, 9.0))
    return module


def is_orthogonal(matrix: torch.Tensor, square: float = 1.0) -> bool:
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    return torch.allclose(product, square * torch.eye(min(rows, columns)), atol=1e-5 * max(square, 1))


# -- kernels ------------------------------------------------------------------------------------------


def test_delta_orthogonal() -> None:
    kernel = made(nn.Conv2d(16, 32, 3), type="DeltaOrthogonal", layer="Conv2d")
    assert is_orthogonal(kernel[:, :, 1, 1])
    kernel[:, :, 1, 1] = 0
    assert kernel.eq(0).all()
    line = made(nn.Conv1d(4, 8, 4), type="DeltaOrthogonal", layer="Conv1d", gain=2)
    assert is_orthogonal(line[:, :, 1], 4.0)
    groups = made(nn.Conv2d(4, 8, 3, groups=2), type="DeltaOrthogonal", layer="Conv2d")
    assert is_orthogonal(groups[:4, :, 1, 1])
    assert is_orthogonal(groups[4:, :, 1, 1])
    assert not torch.equal(groups[:4], groups[4:])
    assert is_orthogonal(made(nn.Conv1d(3, 5, 1), type="DeltaOrthogonal", layer="Conv1d")[:, :, 0])
    with pytest.raises(errors.TensorError, match="no more input than output channels"):
        planned(nn.Conv2d(8, 4, 3), type="DeltaOrthogonal", layer="Conv2d")


def test_suo() -> None:
    assert planned(nn.Linear(64, 128), type="SUO", layer="Linear") == Orthogonal(math.sqrt(2))
    assert planned(nn.Linear(128, 64), type="SUO", layer="Linear") == Orthogonal(1.0)
    assert is_orthogonal(made(nn.Linear(64, 128), type="SUO", layer="Linear"), 2.0)
    kernel = made(nn.Conv2d(4, 16, 3), type="SUO", layer="Conv2d")
    assert is_orthogonal(kernel[:, :, 1, 1], 4.0)
    assert torch.count_nonzero(kernel) == 64


def test_looks_linear_is_linear() -> None:
    first, hidden, last = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 4)
    model = nn.Sequential(first, nn.ReLU(), hidden, nn.ReLU(), last)
    rules = [
        dict(type="LooksLinear", layer="Linear"),
        dict(type="LooksLinear", layer="Linear", name="0", place="first"),
        dict(type="LooksLinear", layer="Linear", name="4", place="last"),
    ]
    initcfg.init_weights(model, rules, seed=0)
    weights = [each.weight.detach() for each in (first, hidden, last)]
    product = weights[2][:, :6] @ weights[1][:6, :6] @ weights[0][:6]
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(x), x @ product.T, atol=1e-5)
    assert is_orthogonal(weights[1][:6, :6])
    with pytest.raises(errors.TensorError, match="even numbers"):
        planned(nn.Linear(4, 3), type="LooksLinear", layer="Linear")


def test_block_orthogonal() -> None:
    matrix = made(nn.Linear(8, 12), type="BlockOrthogonal", layer="Linear", sizes=[4, 4])
    blocks = [matrix[i : i + 4, j : j + 4] for i in (0, 4, 8) for j in (0, 4)]
    assert all(map(is_orthogonal, blocks))
    assert len({block.sum().item() for block in blocks}) == 6
    with pytest.raises(errors.TensorError, match="not made of blocks"):
        planned(nn.Linear(8, 10), type="BlockOrthogonal", layer="Linear", sizes=[4, 4])


def test_icnr_enlarges_without_a_checkerboard() -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1)
    initcfg.init_weights(conv, dict(type="ICNR", layer="Conv2d", scale=2), seed=0)
    base = nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        base.weight.copy_(conv.weight[::4])
        base.bias.zero_()  # type: ignore[union-attr]
    x = torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    enlarged = nn.functional.interpolate(base(x), scale_factor=2, mode="nearest")
    assert torch.equal(conv.weight, base.weight.repeat_interleave(4, 0))
    # The two convolutions may add up in another order.
    assert torch.allclose(nn.PixelShuffle(2)(conv(x)), enlarged, atol=1e-6)
    # The spread is that of the smaller convolution.
    std = made(nn.Conv2d(64, 256, 3), type="ICNR", layer="Conv2d")[::4].std().item()
    assert std == pytest.approx(math.sqrt(2 / (64 * 9)), rel=4 / math.sqrt(2 * 64 * 64 * 9))
    for rule, text in [
        (dict(scale=3), "multiple of 9"),
        (dict(scale=0), "whole number from 1 on"),
        (dict(base="Kaiming"), "initializer of the smaller"),
    ]:
        with pytest.raises(errors.InitcfgError, match=text):
            planned(nn.Conv2d(3, 8, 3), type="ICNR", layer="Conv2d", **rule)


def test_bilinear_is_interpolation() -> None:
    up = nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1, bias=False)
    kernel = made(up, type="Bilinear", layer="ConvTranspose2d")
    assert kernel[1, 1, 0].tolist() == [0.0625, 0.1875, 0.1875, 0.0625]
    assert kernel[0, 1].eq(0).all()
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    theirs = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(up(x)[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=1e-6)
    apart = nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1, bias=False, groups=3)
    made(apart, type="Bilinear", layer="ConvTranspose2d")
    assert torch.allclose(apart(x), up(x), atol=1e-6)


def test_zero_is_the_notebooks() -> None:
    def theirs(m: int, n: int) -> torch.Tensor:
        if m <= n:
            return nn.init.eye_(torch.empty(m, n))
        k = math.ceil(math.log2(m))
        return torch.from_numpy(hadamard(2**k)).float()[:m, :n] / 2 ** (k / 2)

    for m, n in [(4, 8), (8, 8), (16, 4), (13, 5)]:
        assert torch.equal(made(nn.Linear(n, m), type="ZerO", layer="Linear"), theirs(m, n))
    kernel = made(nn.Conv2d(4, 16, 3), type="ZerO", layer="Conv2d")
    assert torch.equal(kernel[:, :, 1, 1], theirs(16, 4))
    assert kernel.abs().sum() == theirs(16, 4).abs().sum()


def test_glorot_of_graph_networks() -> None:
    assert planned(nn.Linear(128, 64), type="GCNGlorot", layer="Linear").args["b"] == pytest.approx(0.1767767)
    stacked = planned(raw(5, 64, 128), type="GCNGlorot", param="weight")
    assert stacked.args["b"] == pytest.approx(0.1767767)
    matrix = made(nn.Linear(8, 4), type="GlorotOrthogonal", layer="Linear")
    assert matrix.var().item() == pytest.approx(2 / 12, rel=1e-5)
    gram = matrix @ matrix.T
    assert torch.allclose(gram, gram[0, 0] * torch.eye(4), atol=1e-5)
    with pytest.raises(errors.TensorError, match="no variance"):
        planned(nn.Linear(1, 1), type="GlorotOrthogonal", layer="Linear")


# -- coordinates --------------------------------------------------------------------------------------


def test_siren_layers() -> None:
    hidden = planned(nn.Linear(64, 64), type="SIRENLayer", layer="Linear")
    assert hidden.args["b"] == pytest.approx(0.0102062, rel=1e-5)
    assert planned(nn.Linear(64, 64), type="SIRENLayer", layer="Linear", first=True) == Uniform(
        -0.015625, 0.015625
    )
    drawn = made(nn.Linear(64, 64), type="SIRENLayer", layer="Linear").flatten()
    bound = hidden.args["b"]
    assert stats.kstest(drawn, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3


def test_grids_and_features() -> None:
    assert planned(nn.Embedding(16, 2), type="HashGrid", layer="Embedding") == Uniform(-1e-4, 1e-4)
    assert planned(nn.Linear(2, 64), type="FourierFeatures", layer="Linear", sigma=3) == Normal(0.0, 3.0)


# -- recurrent ----------------------------------------------------------------------------------------


def test_gates() -> None:
    lstm = nn.LSTM(3, 5)
    assert planned(lstm, "bias_ih_l0", type="GateBias", param="bias_ih_l0") == Parts(
        0, (5, 5, 10), (Constant(0.0), Constant(1.0), Constant(0.0))
    )
    assert planned(lstm, "bias_ih_l0", type="GateBias", param="bias_ih_l0", gate=3, val=2) == Parts(
        0, (15, 5), (Constant(0.0), Constant(2.0))
    )
    bias = made(nn.LSTM(3, 500), "bias_ih_l0", type="ChronoBias", param="bias_ih_l0", t_max=100).view(4, 500)
    assert torch.equal(bias[0], -bias[1])
    assert bias[2:].eq(0).all()
    steps = bias[1].exp()
    assert 1 <= steps.min() < steps.max() <= 99.001
    assert stats.kstest(steps, stats.uniform(1, 98).cdf).pvalue > 1e-3
    with pytest.raises(errors.TensorError, match="bias of 4 gates"):
        planned(nn.Linear(3, 5), "bias", type="GateBias", param="bias")
    with pytest.raises(errors.ArgumentValueError, match="no number 4"):
        planned(lstm, type="GateBias", param="bias_ih_l0", gate=4)


def test_rg_lru() -> None:
    kept = torch.exp(-nn.functional.softplus(made(raw(4000), type="RGLRU", param="weight").double()))
    assert 0.9 <= kept.min() < kept.max() <= 0.999
    assert stats.kstest(kept**2, stats.uniform(0.81, 0.998001 - 0.81).cdf).pvalue > 1e-3
    near = torch.exp(-nn.functional.softplus(made(raw(9), type="RGLRU", param="weight", max_rad=1 - 1e-6)))
    assert near.isfinite().all()
    for radii in (dict(max_rad=1.0), dict(max_rad=1 - 1e-9), dict(min_rad=0.0), dict(min_rad=0.9999)):
        with pytest.raises(errors.ArgumentValueError, match=r"radii|too near"):
            planned(raw(9), type="RGLRU", param="weight", **radii)


def test_state_spaces() -> None:
    legs = made(raw(4, 4), type="HiPPO", param="weight")
    for n in range(4):
        for k in range(4):
            expected = -math.sqrt((2 * n + 1) * (2 * k + 1)) if k < n else -(n + 1) if k == n else 0
            assert legs[n, k].item() == pytest.approx(expected, rel=1e-6)
    legt = made(raw(4, 4), type="HiPPO", param="weight", measure="legt")
    for n in range(4):
        for k in range(4):
            sign = (-1) ** (n - k) if k > n else 1
            assert legt[n, k].item() == pytest.approx(-sign * math.sqrt((2 * n + 1) * (2 * k + 1)), rel=1e-6)
    column = made(raw(4, 1), type="HiPPO", param="weight", what="B")
    assert column[:, 0].tolist() == pytest.approx([1.0, 3**0.5, 5**0.5, 7**0.5])
    imaginary = made(raw(3, 5), type="S4DImaginary", param="weight")
    assert torch.equal(imaginary, math.pi * torch.arange(5.0).repeat(3, 1))
    decay = made(raw(6, 16), type="StateDecay", param="weight")
    assert decay[:, 3].tolist() == pytest.approx([1.3862944] * 6)
    heads = made(raw(2000), type="StateDecay", param="weight").exp()
    assert stats.kstest(heads, stats.uniform(1, 15).cdf).pvalue > 1e-3
    step = nn.functional.softplus(made(raw(2000), type="StepSize", param="weight").double())
    assert 1e-3 * 0.9999 <= step.min() < step.max() <= 0.1 * 1.0001
    low, high = math.log(1e-3), math.log(0.1)
    assert stats.kstest(step.log(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
    floored = nn.functional.softplus(made(raw(500), type="StepSize", param="weight", floor=0.05))
    assert floored.min().item() == pytest.approx(0.05, rel=1e-4)


# -- layers -------------------------------------------------------------------------------------------


def test_layers() -> None:
    conv = nn.Conv2d(4, 4, 1)
    assert planned(conv, type="ZeroConv", layer="Conv2d") == Constant(0.0)
    assert planned(conv, "bias", type="ZeroConv", layer="Conv2d") == Constant(0.0)
    assert planned(nn.Embedding(8, 3), type="VQCodebook", layer="Embedding") == Uniform(-0.125, 0.125)
    noisy = nn.Linear(25, 4)
    assert planned(noisy, type="NoisyNet", param="weight", what="deviation") == Constant(0.1)
    assert planned(noisy, type="NoisyNet", param="weight") == Uniform(-0.2, 0.2)
    assert planned(noisy, "bias", type="NoisyNet", param="bias", fan_in=25) == Uniform(-0.2, 0.2)
    with pytest.raises(errors.TensorError, match="bias does not tell"):
        planned(noisy, "bias", type="NoisyNet", param="bias")
    assert planned(noisy, "bias", type="DDPGHead", layer="Linear") == Uniform(-0.003, 0.003)
    assert planned(noisy, "bias", type="Highway", param="bias", val=-2) == Constant(-2.0)
    assert planned(conv, "bias", type="FocalPrior", layer="Conv2d") == Constant(pytest.approx(-4.595120))
    assert planned(conv, type="FocalPrior", layer="Conv2d") == Normal(0.0, 0.01)
    assert planned(nn.Linear(64, 16), type="UnitNormal", layer="Linear") == Normal(0.0, 0.125)
    assert planned(nn.Linear(64, 16), type="UnitNormal", layer="Linear", over="fan_out") == Normal(0.0, 0.25)


def test_head_bias_begins_at_the_entropy() -> None:
    head, counts = nn.Linear(4, 3), [60, 30, 10]
    rule = dict(type="Constant", val=0, layer="Linear", bias=dict(type="HeadBias", freq=counts))
    initcfg.init_weights(head, rule)
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    loss = nn.functional.cross_entropy(head(torch.randn(100, 4)), labels).item()
    assert loss == pytest.approx(stats.entropy(counts), abs=1e-6)
    sigmoid = made(nn.Linear(4, 2), "bias", type="HeadBias", param="bias", freq=[0.5, 0.01], loss="sigmoid")
    assert sigmoid.sigmoid().tolist() == pytest.approx([0.5, 0.01])
    unknown = planned(nn.Linear(4, 1000), "bias", type="HeadBias", param="bias")
    assert unknown == Constant(pytest.approx(-6.907755))
    one = planned(nn.Linear(4, 1), "bias", type="HeadBias", param="bias", loss="sigmoid")
    assert math.copysign(1.0, one.args["val"]) == 1.0
    many = made(nn.Linear(1, 3000), "bias", type="HeadBias", param="bias", freq=[*range(1, 3001)])
    assert many.softmax(0)[[0, 2999]].tolist() == pytest.approx([1 / 4501500, 3000 / 4501500], rel=1e-4)
    with pytest.raises(errors.TensorError, match="bias of 3 classes"):
        planned(nn.Linear(4, 2), "bias", type="HeadBias", param="bias", freq=counts)
    with pytest.raises(errors.ArgumentValueError, match="above 0"):
        planned(head, "bias", type="HeadBias", param="bias", freq=[1, 0, 2])


@pytest.mark.parametrize("more", [{}, {"freq": [0.01]}, {"num_classes": 1}])
def test_head_bias_of_one_logit_is_for_a_sigmoid(more: dict[str, Any]) -> None:
    """A softmax over one logit is 1, and the logarithm of that is 0: a bias that says nothing."""
    with pytest.raises(errors.TensorError, match="a softmax over one logit is 1") as caught:
        planned(nn.Linear(4, 1), "bias", type="HeadBias", param="bias", **more)
    assert "loss='sigmoid'" in str(caught.value.fix)
    fits = made(nn.Linear(4, 1), "bias", type="HeadBias", param="bias", freq=[0.01], loss="sigmoid")
    assert fits.sigmoid().tolist() == pytest.approx([0.01])


def test_head_bias_that_does_not_fit_says_what_would() -> None:
    with pytest.raises(errors.TensorError, match="bias of 2 classes") as caught:
        planned(nn.Linear(4, 1), "bias", type="HeadBias", param="bias", freq=[0.99, 0.01])
    assert "loss='sigmoid', with freq=[p]" in str(caught.value.fix)
    with pytest.raises(errors.TensorError, match="bias of 3 classes") as caught:
        planned(nn.Linear(4, 5), "bias", type="HeadBias", param="bias", freq=[3, 2, 1])
    assert "Give the 5 classes of this bias" in str(caught.value.fix)
    for freq, loss in (([0.0, 1.0], "softmax"), ([1.0], "sigmoid"), ([0.0], "sigmoid"), ([-1, 2], "softmax")):
        with pytest.raises(errors.ArgumentValueError):
            planned(nn.Linear(4, len(freq)), "bias", type="HeadBias", param="bias", freq=freq, loss=loss)


def test_attention_ring_is_deformable_detrs() -> None:
    heads, levels, points = 8, 4, 4
    thetas = torch.arange(heads, dtype=torch.float32) * (2.0 * math.pi / heads)
    grid = torch.stack([thetas.cos(), thetas.sin()], -1)
    grid = (grid / grid.abs().max(-1, keepdim=True)[0]).view(heads, 1, 1, 2).repeat(1, levels, points, 1)
    for point in range(points):
        grid[:, :, point, :] *= point + 1
    bias = made(nn.Linear(4, 2 * heads * levels * points), "bias", type="AttentionRing", param="bias")
    assert torch.allclose(bias, grid.flatten(), atol=2e-6)
    with pytest.raises(errors.TensorError, match="look at 64 numbers"):
        planned(nn.Linear(4, 30), "bias", type="AttentionRing", param="bias")


def test_each_goes_through_json_and_by_blocks() -> None:
    """Plans of them are data, and applied the same when they are read back."""
    model = nn.ModuleDict({"up": nn.Conv2d(4, 16, 3), "wide": nn.Linear(4, 16), "lstm": nn.LSTM(3, 4)})
    rules = [
        dict(type="ICNR", layer="Conv2d"),
        dict(type="ZerO", layer="Linear"),
        dict(type="ChronoBias", param="*bias_ih*", t_max=10),
    ]
    plan = initcfg.plan(model, rules)
    assert {key: item.value for key, item in initcfg.Plan.from_json(plan.to_json()).items()} == {
        key: item.value for key, item in plan.items()
    }
    plan.apply(model, seed=3)
    first = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    initcfg.Plan.from_json(plan.to_json()).apply(model, seed=3)
    assert all(torch.equal(first[key], tensor) for key, tensor in model.state_dict().items())
