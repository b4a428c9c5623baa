"""The draws: their distribution is that of the value, whatever the type, the layout and the neighbours."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

import initcfg
from initcfg import errors, values


def distribution_of(value: values.Value) -> Any:
    if isinstance(value, values.Uniform):
        return stats.uniform(value.a, value.b - value.a)
    if isinstance(value, values.Normal):
        return stats.norm(value.mean, value.std)
    assert isinstance(value, values.TruncNormal)
    low, high = (value.a - value.mean) / value.std, (value.b - value.mean) / value.std
    return stats.truncnorm(low, high, value.mean, value.std)


RANDOM = [
    dict(type="Normal", mean=1, std=0.2),
    dict(type="Uniform", a=-3, b=1),
    dict(type="TruncNormal", std=0.5, a=-0.5, b=1),
    dict(type="TruncNormal", std=0.02, a_sigma=-2, b_sigma=2, preserve_std=True),
    dict(type="Xavier"),
    dict(type="Xavier", distribution="uniform", gain=3),
    dict(type="Kaiming"),
    dict(type="Kaiming", distribution="uniform", mode="fan_in"),
    dict(type="Caffe2Xavier"),
]


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("rule", RANDOM, ids=str)
def test_draws_have_the_distribution_of_the_value(rule: dict[str, Any], rng: Any) -> None:
    model = nn.Linear(150, 200)
    plan = initcfg.plan(model, dict(rule, layer="Linear"))
    plan.apply(model, seed=3, rng=rng)
    drawn = model.weight.detach().flatten().double().numpy()
    assert stats.kstest(drawn, distribution_of(plan["weight"].value).cdf).pvalue > 0.01
    # Neighbours know nothing of each other.
    assert abs(stats.pearsonr(drawn[:-1], drawn[1:]).statistic) < 0.02


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_data_types(dtype: torch.dtype, rng: Any) -> None:
    model = nn.Linear(100, 100, dtype=dtype)
    rule = dict(type="TruncNormal", layer="Linear", std=0.5, a=-0.3, b=0.7, bias=0.1)
    plan = initcfg.plan(model, rule)
    assert plan["weight"].dtype == str(dtype).removeprefix("torch.")
    plan.apply(model, seed=1, rng=rng)
    assert model.weight.dtype == dtype
    assert torch.equal(model.bias, torch.full((100,), 0.1, dtype=dtype))
    assert model.weight.min() >= torch.tensor(-0.3, dtype=dtype)
    assert model.weight.max() <= torch.tensor(0.7, dtype=dtype)
    drawn = model.weight.detach().flatten().double().numpy()
    assert abs(drawn.mean() - distribution_of(plan["weight"].value).mean()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["Normal", "Uniform", "TruncNormal"])
def test_small_types_are_the_rounded_float32(kind: str, dtype: torch.dtype) -> None:
    whole, small = nn.Linear(64, 64), nn.Linear(64, 64, dtype=dtype)
    for model in (whole, small):
        initcfg.init_weights(model, dict(type=kind, layer="Linear"), seed=9)
    assert torch.equal(small.weight, whole.weight.to(dtype))


def test_draws_do_not_depend_on_the_memory_format() -> None:
    rule = dict(type="Normal", layer=["Conv2d", "Linear"])
    plain = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Linear(5, 7))
    other = nn.Sequential(nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last), nn.Linear(5, 7))
    other[1].weight = nn.Parameter(torch.zeros(5, 7).t())
    assert not other[0].weight.is_contiguous()
    assert not other[1].weight.is_contiguous()
    for model in (plain, other):
        initcfg.init_weights(model, rule, seed=8)
    for name, tensor in plain.named_parameters():
        assert torch.equal(tensor, other.get_parameter(name)), name
    assert not other[0].weight.is_contiguous()


def test_parts_are_independent() -> None:
    model = nn.MultiheadAttention(8, 2)
    initcfg.init_weights(model, dict(type="Normal", layer="MultiheadAttention"), seed=8)
    query, key, value = model.in_proj_weight.chunk(3)
    assert not torch.equal(query, key)
    assert not torch.equal(key, value)


def test_a_value_depends_on_name_and_index_alone() -> None:
    rule = dict(type="Normal", layer="Linear")
    small, large = (
        nn.ModuleDict(dict(a=nn.Linear(4, 4))),
        nn.ModuleDict(dict(z=nn.Linear(9, 9), a=nn.Linear(4, 6))),
    )
    for model in (small, large):
        initcfg.init_weights(model, rule, seed=2)
    assert torch.equal(small["a"].weight, large["a"].weight[:4])


@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_the_padding_row_stays_zero(rng: Any) -> None:
    for rule in (dict(layer="Embedding"), dict(param="*weight"), dict(name="0")):
        model = nn.Sequential(nn.Embedding(6, 3, padding_idx=2), nn.Linear(3, 6))
        initcfg.init_weights(model, dict(rule, type="Normal", mean=5), rng=rng)
        assert model[0].weight[2].tolist() == [0, 0, 0]
        assert model[0].weight.eq(0).sum() == 3
    model[1].weight = model[0].weight
    initcfg.init_weights(model, dict(layer="Linear", type="Normal", mean=5), rng=rng)
    assert model[0].weight[2].tolist() == [0, 0, 0]
    bag = nn.EmbeddingBag(6, 3, padding_idx=-1)
    initcfg.init_weights(bag, dict(layer="EmbeddingBag", type="Constant", val=2), rng=rng)
    assert bag.weight.sum(1).tolist() == [6, 6, 6, 6, 6, 0]


def test_buffers() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    rule = [
        dict(type="Constant", val=4, buffer="*.running_mean"),
        dict(type="Uniform", buffer="0.running_var"),
    ]
    plan = initcfg.plan(model, rule)
    assert list(plan.buffers) == ["0.running_mean", "0.running_var"]
    assert "0.running_mean" not in list(plan)
    ledger = plan.apply(model)
    assert model[0].running_mean.tolist() == [4, 4, 4]
    assert model[0].running_var.unique().numel() == 3
    assert ledger["0.running_mean"].rule == "init_cfg[0]"
    with pytest.raises(errors.TensorError, match="floating-point"):
        initcfg.init_weights(model, dict(type="Normal", buffer="*.num_batches_tracked"))
