"""Channel by channel: weight norm's first batch, and ActNorm's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import initcfg
from initcfg.errors import ApplyError
from initcfg.values import Numbers, Scaled


def batch(*shape: int) -> torch.Tensor:
    return 2.0 + 3.0 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def check(output: torch.Tensor, axis: int, scale: float = 1.0) -> None:
    """The catalogue's test: mean 0 and standard deviation 1 of every channel."""
    rows = output.detach().movedim(axis, 0).flatten(1).double()
    assert float(rows.mean(1).abs().max()) < 1e-4
    assert float((rows.std(1, correction=0) / scale - 1).abs().max()) < 1e-3


class Transposing(nn.Linear):
    """As transformers' Conv1D: the weight lies the other way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight)


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (nn.Linear(8, 5), (256, 8), 1),
        (nn.Linear(8, 5), (16, 16, 8), 2),
        (nn.Linear(1, 1), (256, 1), 1),
        (nn.Conv2d(4, 6, 3), (8, 4, 8, 8), 1),
        (nn.Conv2d(4, 6, 3, groups=2), (8, 4, 8, 8), 1),
        (nn.Conv1d(4, 6, 3), (8, 4, 32), 1),
        (nn.ConvTranspose2d(4, 6, 3), (8, 4, 8, 8), 1),
        (weight_norm(nn.Conv2d(4, 6, 3)), (8, 4, 8, 8), 1),
        (weight_norm(nn.Linear(8, 5)), (256, 8), 1),
        (Transposing(8, 8), (256, 8), 1),
    ],
)
def test_weight_norm_data(layer: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    inputs = batch(*shape)
    rule = dict(type="WeightNormData", batch=inputs)
    ledger = initcfg.init_weights(layer, rule, seed=0)
    check(layer(inputs), axis)
    assert isinstance(ledger["weight"].value, Scaled) and isinstance(ledger["bias"].value, Numbers)
    finished = {name: each.clone() for name, each in layer.state_dict().items()}
    with torch.no_grad():
        for each in layer.parameters():
            each.fill_(0.5)
    ledger.plan.apply(layer)
    assert all(torch.equal(each, finished[name]) for name, each in layer.state_dict().items())


def test_layer_after_layer() -> None:
    model = nn.Sequential(
        weight_norm(nn.Conv2d(3, 8, 3)), nn.ELU(), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(), nn.Flatten()
    )
    model.append(nn.Linear(8 * 4 * 4, 10))
    inputs = batch(64, 3, 8, 8)
    initcfg.init_weights(model, dict(type="WeightNormData", batch=inputs), seed=0)
    check(model[:1](inputs), 1)
    check(model(inputs), 1)
    middle = model[:3](inputs).detach().std((0, 2, 3), correction=0)
    assert torch.allclose(middle, torch.ones(8), atol=1e-3)


def test_groups_of_a_transposed_convolution_have_no_axis() -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    with pytest.raises(ApplyError, match="no axis for the channels of its output"):
        initcfg.init_weights(layer, dict(type="WeightNormData", batch=batch(8, 4, 8, 8)), seed=0)


class ActNorm(nn.Module):
    def __init__(self, form: str, shape: tuple[int, ...] = (4,)) -> None:
        super().__init__()
        self.form = form
        self.loc, self.scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.ones(shape))

    def forward(self, x: torch.Tensor) -> Any:
        loc, scale = (each.view(1, -1, *[1] * (x.dim() - 2)) for each in (self.loc, self.scale))
        if self.form == "glow":
            return (x + loc) * torch.exp(3 * scale), 3 * scale.sum()
        if self.form == "log":
            return x * torch.exp(scale) + loc
        return (x + loc) * scale if self.form == "inside" else x * scale + loc


@pytest.mark.parametrize("form", ["glow", "log", "inside", "affine"])
@pytest.mark.parametrize("shape", [(4,), (1, 4, 1, 1)])
def test_act_norm(form: str, shape: tuple[int, ...]) -> None:
    layer, inputs = ActNorm(form, shape), batch(16, 4, 8, 8)
    rule = dict(
        type="ActNormData", batch=inputs, layer="ActNorm", scale=2, logscale_factor=3 if form == "glow" else 1
    )
    ledger = initcfg.init_weights(layer, rule, seed=0)
    output = layer(inputs)
    check(output[0] if form == "glow" else output, 1, 2.0)
    if form == "glow":
        wanted = torch.log(2.0 / (inputs.std((0, 2, 3), correction=0) + 1e-6)) / 3
        assert torch.allclose(layer.scale.detach().flatten(), wanted, atol=1e-5)
    other = ActNorm(form, shape)
    ledger.plan.apply(other)
    assert torch.equal(other.scale, layer.scale) and torch.equal(other.loc, layer.loc)


def test_a_layer_that_is_no_act_norm() -> None:
    rule = dict(type="ActNormData", batch=batch(16, 4), layer="LayerNorm")
    with pytest.raises(ApplyError, match="No scale and shift gives the output of this LayerNorm"):
        initcfg.init_weights(nn.Sequential(nn.LayerNorm(4)), rule, seed=0)
    rule = dict(type="ActNormData", batch=batch(16, 4), layer="Linear")
    with pytest.raises(ApplyError, match="one number each for a channel; a Linear has weight, bias"):
        initcfg.init_weights(nn.Linear(4, 4), rule, seed=0)


def test_values_by_blocks_and_in_small_types() -> None:
    from initcfg._stream.writing import Block, fill_stream
    from initcfg.values import Normal, shape_problem

    value = Scaled(Normal(0.0, 1.0), (0.5, 2.0, 3.0), 1)
    whole, plain = torch.empty(4, 3), torch.empty(4, 3)
    fill_stream(whole, value, seed=0, name="w")
    fill_stream(plain, Normal(0.0, 1.0), seed=0, name="w")
    assert torch.equal(whole, plain * torch.tensor([0.5, 2.0, 3.0]))
    piece = torch.empty(2, 2)
    fill_stream(piece, value, seed=0, name="w", block=Block((4, 3), (1, 1)))
    assert torch.equal(piece, whole[1:3, 1:3])
    small = torch.empty(4, 3, dtype=torch.bfloat16)
    fill_stream(small, value, seed=0, name="w")
    assert torch.allclose(small.float(), whole, rtol=1e-2)
    numbers = torch.empty(2, 2)
    fill_stream(numbers, Numbers((1.0, 2.0, 3.0, 4.0)), seed=0, name="w")
    assert numbers.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert shape_problem(value, (4, 4)) == "its 3 factors do not fit axis 1 of shape (4, 4)"
    assert shape_problem(Numbers((1.0,)), (2,)) == "it has 1 numbers, and this tensor has the shape (2,)"
