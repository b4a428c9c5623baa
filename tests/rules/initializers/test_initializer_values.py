"""The numbers of the initializers: each value against torch's own formulas."""

from __future__ import annotations

import json
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


def test_truncated_normal_with_one_bound() -> None:
    linear, inf = nn.Linear(2, 2), math.inf
    assert value_of(linear, type="TruncNormal", a=-inf, b=0.5) == values.TruncNormal(0.0, 1.0, -inf, 0.5)
    assert value_of(linear, type="TruncNormal", a_sigma=1, b_sigma=inf) == values.TruncNormal(0, 1, 1.0, inf)
    # With no spread there is no number of sigmas to count.
    fixed = value_of(linear, type="TruncNormal", std=0, a_sigma=-inf, b_sigma=1)
    assert fixed == values.TruncNormal(0.0, 0.0, -inf, 0.0)
    kept = value_of(linear, type="TruncNormal", std=0.02, a_sigma=-inf, b_sigma=1, preserve_std=True)
    assert isinstance(kept, values.TruncNormal)
    assert stats.truncnorm(-inf, 1.0, scale=kept.std).std() == pytest.approx(0.02)
    plan = initcfg.plan(linear, dict(type="TruncNormal", layer="Linear", a=-inf, b=0.5))
    text = json.dumps(plan.to_json(), allow_nan=False)
    assert initcfg.Plan.from_json(json.loads(text))["weight"].value == plan["weight"].value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(a=math.nan), "A bound of TruncNormal.* is not a number"),
        (dict(a_sigma=math.nan), "is not a number"),
        (dict(a=3.0), "lies above the upper one"),
        (dict(a=math.inf, b=math.inf), "Nothing lies between the bounds"),
        (dict(a=-math.inf, b=-math.inf), "Nothing lies between the bounds"),
    ],
)
def test_bounds_between_which_nothing_lies(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        value_of(nn.Linear(2, 2), type="TruncNormal", **arguments)


def test_a_bound_that_cuts_nothing_is_noted() -> None:
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="TruncNormal", layer="Linear", std=0.02))
    assert "100 sigma" in plan.notes[0]
    assert initcfg.plan(model, dict(type="TruncNormal", layer="Linear", std=1)).notes == ()
