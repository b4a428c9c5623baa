"""The numbers: each initializer's value against torch's own formulas, and the draws against the value."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

import initcfg
from initcfg import errors, values

SHAPES = [
    lambda: nn.Linear(7, 5),
    lambda: nn.Conv1d(6, 4, 5),
    lambda: nn.Conv2d(3, 8, 7),
    lambda: nn.Conv2d(16, 4, 1),
    lambda: nn.Conv3d(2, 3, (1, 2, 3)),
]


def value_of(module: nn.Module, name: str = "weight", **rule: Any) -> values.Value:
    """The value of one parameter under a rule for every layer."""
    return initcfg.plan(module, dict(rule, layer="Module"))[name].value


def torch_fans(tensor: torch.Tensor) -> tuple[int, int]:
    return nn.init._calculate_fan_in_and_fan_out(tensor)


def spread(std: float, distribution: str) -> tuple[float, float]:
    if distribution == "normal":
        return (0.0, std)
    return (-math.sqrt(3) * std, math.sqrt(3) * std)


# -- formulas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize(
    ("nonlinearity", "a"),
    [
        ("relu", 0),
        ("leaky_relu", 0),
        ("leaky_relu", 0.3),
        ("linear", 0),
        ("tanh", 0),
        ("selu", 0),
        ("conv2d", 0),
    ],
)
@pytest.mark.parametrize("make", SHAPES)
def test_kaiming(make: Any, nonlinearity: str, a: float, mode: str, distribution: str) -> None:
    module = make()
    fan = torch_fans(module.weight)[mode == "fan_out"]
    std = nn.init.calculate_gain(nonlinearity, a) / math.sqrt(fan)
    value = value_of(
        module, type="Kaiming", a=a, mode=mode, nonlinearity=nonlinearity, distribution=distribution
    )
    assert value.kind == distribution.capitalize()
    assert tuple(value.args.values()) == pytest.approx(spread(std, distribution), rel=1e-15)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("gain", [1, 0.5, math.sqrt(2)])
@pytest.mark.parametrize("make", SHAPES)
def test_xavier(make: Any, gain: float, distribution: str) -> None:
    module = make()
    std = gain * math.sqrt(2 / sum(torch_fans(module.weight)))
    value = value_of(module, type="Xavier", gain=gain, distribution=distribution)
    assert value.kind == distribution.capitalize()
    assert tuple(value.args.values()) == pytest.approx(spread(std, distribution), rel=1e-15)


@pytest.mark.parametrize("make", SHAPES)
def test_caffe2_xavier(make: Any) -> None:
    module = make()
    bound = math.sqrt(3 / torch_fans(module.weight)[0])
    assert tuple(value_of(module, type="Caffe2Xavier").args.values()) == pytest.approx((-bound, bound))


def test_defaults_of_the_original() -> None:
    linear = nn.Linear(4, 4)
    assert value_of(linear, type="Normal") == values.Normal(0.0, 1.0)
    assert value_of(linear, type="Uniform") == values.Uniform(0.0, 1.0)
    assert value_of(linear, type="TruncNormal") == values.TruncNormal(0.0, 1.0, -2.0, 2.0)
    assert value_of(linear, type="Xavier") == values.Normal(0.0, 0.5)
    assert value_of(linear, type="Kaiming") == values.Normal(0.0, math.sqrt(2) / 2)
    assert value_of(linear, "bias", type="Normal") == values.Constant(0.0)


@pytest.mark.parametrize("probability", [0.01, 0.5, 0.9])
def test_bias_prob(probability: float) -> None:
    bias = value_of(nn.Linear(1, 1), "bias", type="Normal", bias=7, bias_prob=probability).args["val"]
    assert 1 / (1 + math.exp(-bias)) == pytest.approx(probability, rel=1e-12)
    assert bias == initcfg.bias_init_with_prob(probability)


# -- fans are the layer's ------------------------------------------------------------------------


def fans_of(module: nn.Module, name: str = "weight", **rule: Any) -> list[tuple[float, float]]:
    """(fan_in, fan_out) as the standard deviations of Kaiming give them; one pair for each part."""
    pairs = []
    for mode in ("fan_in", "fan_out"):
        rule = dict(dict(layer="Module"), **rule)
        value = initcfg.plan(module, dict(rule, type="Kaiming", nonlinearity="linear", mode=mode))[name].value
        parts = value.args["values"] if isinstance(value, values.Parts) else [value]
        pairs.append([round(1 / part.args["std"] ** 2, 6) for part in parts])
    return list(zip(*pairs, strict=True))


CASES = [
    (lambda: nn.Conv2d(8, 12, 3, groups=4), "weight", [(2 * 9, 3 * 9)]),
    (lambda: nn.Conv2d(8, 8, 5, groups=8), "weight", [(25, 25)]),
    (lambda: nn.Conv2d(8, 16, 5, groups=8), "weight", [(25, 50)]),
    (lambda: nn.Conv2d(8, 12, 1), "weight", [(8, 12)]),
    (lambda: nn.Conv1d(8, 12, 3, dilation=2), "weight", [(24, 36)]),
    (lambda: nn.ConvTranspose2d(8, 12, 3), "weight", [(8 * 9, 12 * 9)]),
    (lambda: nn.ConvTranspose2d(8, 12, 3, groups=4), "weight", [(2 * 9, 3 * 9)]),
    (lambda: nn.Linear(8, 12), "weight", [(8, 12)]),
    (lambda: nn.Embedding(10, 4), "weight", [(4, 10)]),
    (lambda: nn.Bilinear(3, 4, 5), "weight", [(12, 20)]),
    (lambda: nn.MultiheadAttention(8, 2), "in_proj_weight", [(8, 8)] * 3),
    (lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6), "q_proj_weight", [(8, 8)]),
    (lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6), "k_proj_weight", [(4, 8)]),
    (lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6), "v_proj_weight", [(6, 8)]),
    (lambda: nn.MultiheadAttention(8, 2), "out_proj.weight", [(8, 8)]),
    (lambda: nn.LSTM(3, 5), "weight_ih_l0", [(3, 5)] * 4),
    (lambda: nn.LSTM(3, 5), "weight_hh_l0", [(5, 5)] * 4),
    (lambda: nn.LSTM(3, 5, num_layers=2, bidirectional=True), "weight_ih_l1_reverse", [(10, 5)] * 4),
    (lambda: nn.LSTM(3, 5, proj_size=2), "weight_hr_l0", [(5, 2)]),
    (lambda: nn.LSTM(3, 5, proj_size=2), "weight_hh_l0", [(2, 5)] * 4),
    (lambda: nn.GRU(3, 5), "weight_ih_l0", [(3, 5)] * 3),
    (lambda: nn.RNN(3, 5), "weight_ih_l0", [(3, 5)]),
    (lambda: nn.LSTMCell(3, 5), "weight_ih", [(3, 5)] * 4),
    (lambda: nn.GRUCell(3, 5), "weight_hh", [(5, 5)] * 3),
    (lambda: nn.RNNCell(3, 5), "weight_ih", [(3, 5)]),
]


@pytest.mark.parametrize(("make", "name", "fans"), CASES)
def test_fans(make: Any, name: str, fans: list[tuple[int, int]]) -> None:
    assert fans_of(make(), name) == [pytest.approx(pair) for pair in fans]


def test_fans_by_axis() -> None:
    model = nn.Module()
    model.experts = nn.Parameter(torch.zeros(6, 10, 20))
    model.heads = nn.Parameter(torch.zeros(4, 5, 20))
    rule = dict(layer=[], param="experts", in_axis=1, out_axis=2, batch_axis=0)
    assert fans_of(model, "experts", **rule) == [pytest.approx((10, 20))]
    rule = dict(layer=[], param="experts", in_axis=-1, out_axis=-2, batch_axis=[0])
    assert fans_of(model, "experts", **rule) == [pytest.approx((20, 10))]
    rule = dict(layer=[], param="heads", in_axis=[0, 1], out_axis=2)
    assert fans_of(model, "heads", **rule) == [pytest.approx((20, 20))]
    # An axis that is given no meaning is a receptive field.
    rule = dict(layer=[], param="heads", in_axis=1, out_axis=2)
    assert fans_of(model, "heads", **rule) == [pytest.approx((20, 80))]
    for wrong in (dict(in_axis=3, out_axis=0), dict(in_axis=0, out_axis=0), dict(in_axis=1)):
        with pytest.raises(errors.InitcfgError):
            initcfg.plan(model, dict(type="Kaiming", param="experts", **wrong))


# -- truncation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(-2, 2), (-1, 3), (0, 2), (-0.5, 0.25), (-4, 4)])
def test_sigma_bounds_and_preserved_std(low: float, high: float) -> None:
    rule = dict(type="TruncNormal", mean=0.5, std=0.02, a_sigma=low, b_sigma=high)
    value = value_of(nn.Linear(2, 2), **rule)
    assert value == values.TruncNormal(0.5, 0.02, 0.5 + low * 0.02, 0.5 + high * 0.02)
    kept = value_of(nn.Linear(2, 2), **rule, preserve_std=True)
    assert isinstance(kept, values.TruncNormal)
    std = stats.truncnorm(low, high, loc=kept.mean, scale=kept.std).std()
    assert std == pytest.approx(0.02, rel=1e-9)
    assert (kept.a - kept.mean) / kept.std == pytest.approx(low)


def test_one_sigma_bound_gives_the_other() -> None:
    value = value_of(nn.Linear(2, 2), type="TruncNormal", std=0.5, b_sigma=1)
    assert value == values.TruncNormal(0.0, 0.5, -1.0, 0.5)


def test_a_bound_that_cuts_nothing_is_noted() -> None:
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="TruncNormal", layer="Linear", std=0.02))
    assert "100 sigma" in plan.notes[0]
    assert initcfg.plan(model, dict(type="TruncNormal", layer="Linear", std=1)).notes == ()


# -- draws ---------------------------------------------------------------------------------------


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


# -- wrappers ------------------------------------------------------------------------------------


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]


def _inner_wrapped(model: nn.Module) -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model[0] = checkpoint_wrapper(model[0])  # type: ignore[operator]
    return model


@pytest.mark.parametrize("wrap", [nn.DataParallel, _compiled, _inner_wrapped])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_change_neither_names_nor_weights(wrap: Any) -> None:
    def make() -> nn.Module:
        inner = initcfg.Sequential(nn.Linear(3, 3), init_cfg=dict(type="Normal", layer="Linear", std=4))
        return nn.Sequential(inner, nn.Linear(3, 2))

    rule = dict(type="Uniform", layer="Linear", bias=1)
    plain, wrapped = make(), wrap(make())
    plan = initcfg.plan(plain, rule)
    assert initcfg.plan(wrapped, rule) == plan
    plan.apply(plain, seed=4)
    initcfg.init_weights(wrapped, rule, seed=4)
    for left, right in zip(plain.parameters(), wrapped.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_child_called_module_is_no_wrapper() -> None:
    model = nn.Module()
    model.module = nn.Linear(2, 2)
    assert list(initcfg.plan(model)) == ["module.weight", "module.bias"]
