"""The initializers that the original does not have: the values that rules give, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

import initcfg
from initcfg import INITIALIZERS, errors
from initcfg.values import Constant, Dirac, Eye, Layout, Normal, Orthogonal, PaddingRow, Parts, Sparse, Value


def plan_value(module: nn.Module, name: str = "weight", **rule: Any) -> Value:
    return initcfg.plan(module, dict(rule, layer=type(module).__name__))[name].value


def test_rules_give_the_values() -> None:
    linear, conv = nn.Linear(4, 6), nn.Conv2d(4, 6, 3, groups=2)
    assert plan_value(linear, type="Orthogonal") == Orthogonal(1.0)
    assert plan_value(conv, type="Orthogonal", gain=1.4) == Orthogonal(1.4)
    assert plan_value(linear, type="Orthogonal", gain="relu") == Orthogonal(math.sqrt(2))
    assert plan_value(linear, type="Orthogonal", gain="leaky_relu", a=1) == Orthogonal(1.0)
    assert plan_value(linear, type="Sparse", sparsity=0.9) == Sparse(0.9, 0.01)
    assert plan_value(conv, type="Dirac") == Dirac(2)
    assert plan_value(conv, type="Dirac", groups=3) == Dirac(3)
    assert plan_value(linear, type="Identity", gain=2) == plan_value(linear, type="Eye", gain=2) == Eye(2.0)
    assert plan_value(linear, "bias", type="Orthogonal", bias=3) == Constant(3.0)
    assert plan_value(linear, "bias", type="Dirac", bias_prob=0.5, weight=0) == Constant(-0.0)


def test_fused_tensors_are_orthogonal_part_by_part() -> None:
    attention = plan_value(nn.MultiheadAttention(4, 2), "in_proj_weight", type="Orthogonal")
    assert attention == Parts(0, (4, 4, 4), (Orthogonal(1.0),) * 3)
    lstm = plan_value(nn.LSTM(3, 5), "weight_hh_l0", type="Identity")
    assert lstm == Parts(0, (5,) * 4, (Eye(1.0),) * 4)
    words = plan_value(nn.Embedding(5, 4, padding_idx=2), type="Orthogonal")
    assert words == PaddingRow(2, Orthogonal(1.0))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 5, 7))


def test_stacked_experts() -> None:
    rule = dict(type="Orthogonal", param="weight", in_axis=1, out_axis=-1, batch_axis=0)
    assert initcfg.plan(Experts(), rule)["weight"].value == Orthogonal(1.0, (2,), (0,))
    plain = dict(type="Orthogonal", param="weight")
    assert initcfg.plan(Experts(), plain)["weight"].value == Orthogonal(1.0)


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (6, 4, 3, 3)])
@pytest.mark.parametrize("scale", [1.0, 2.0, 0.1])
@pytest.mark.parametrize(
    ("mode", "fan"),
    [
        ("fan_in", lambda i, o: i),
        ("fan_out", lambda i, o: o),
        ("fan_avg", lambda i, o: (i + o) / 2),
        ("fan_geo_avg", lambda i, o: math.sqrt(i * o)),
    ],
)
def test_variance_scaling_has_the_variance(shape: Any, scale: float, mode: str, fan: Any) -> None:
    fans = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    variance = scale / fan(*fans)

    def made(distribution: str) -> Any:
        cls = INITIALIZERS.get("VarianceScaling")
        assert cls is not None
        return cls(scale, mode, distribution).value(Layout(shape))

    normal, uniform, truncated = made("normal"), made("uniform"), made("truncated_normal")
    assert (normal.mean, normal.std) == (0.0, pytest.approx(math.sqrt(variance)))
    assert uniform.a == -uniform.b
    assert stats.uniform(uniform.a, 2 * uniform.b).var() == pytest.approx(variance)
    assert truncated.b == -truncated.a == 2 * truncated.std
    assert stats.truncnorm(-2, 2, scale=truncated.std).var() == pytest.approx(variance)


def test_lecun_is_variance_scaling() -> None:
    linear = nn.Linear(16, 3)
    assert plan_value(linear, type="LeCun", distribution="normal") == Normal(0.0, 0.25)
    for distribution in ("truncated_normal", "normal", "uniform"):
        scaled = plan_value(linear, type="VarianceScaling", distribution=distribution)
        assert plan_value(linear, type="LeCun", distribution=distribution) == scaled
    assert plan_value(linear, type="VarianceScaling", scale=2, distribution="normal") == plan_value(
        linear, type="Kaiming", mode="fan_in"
    )
    assert plan_value(linear, type="VarianceScaling", mode="fan_avg", distribution="normal") == plan_value(
        linear, type="Xavier"
    )


@pytest.mark.parametrize(
    ("module", "rule", "text"),
    [
        (nn.Linear(3, 3), dict(type="Dirac"), "3 to 5 dimensions"),
        (nn.Conv2d(3, 3, 3), dict(type="Identity"), "matrices, and this tensor has 4 dimensions"),
        (nn.Conv2d(3, 3, 3), dict(type="Sparse", sparsity=0.5), "matrices, and this tensor has 4 dimensions"),
        (nn.Conv2d(4, 6, 3), dict(type="Dirac", groups=4), "do not make 4 equal groups"),
        (nn.BatchNorm1d(3), dict(type="Orthogonal"), "two dimensions or more, and this tensor has 1"),
    ],
)
def test_impossible_shapes_name_the_rule(module: nn.Module, rule: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.TensorError, match=text) as caught:
        initcfg.plan(nn.Sequential(module), dict(rule, layer=type(module).__name__))
    assert caught.value.parameter == "0.weight"
    assert str(caught.value.where).startswith("init_cfg (test_further_initializers.py:")
    assert rule["type"] in str(caught.value.rule)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (dict(type="Orthogonal", gain="rleu"), "names no function"),
        (dict(type="Orthogonal", gain=math.nan), "gain must be finite"),
        (dict(type="Orthogonal", gain=None), "gain must be a number"),
        (dict(type="Orthogonal", a=0.1), "has no meaning for another gain"),
        (dict(type="Sparse"), "sparsity"),
        (dict(type="Sparse", sparsity=1.5), "share from 0 to 1"),
        (dict(type="Sparse", sparsity=0.5, std=-1), "not negative"),
        (dict(type="Dirac", groups=0), "groups must be a whole number"),
        (dict(type="Identity", gain=math.inf), "gain must be finite"),
        (dict(type="VarianceScaling", mode="fanin"), "'fan_avg' or 'fan_geo_avg', not 'fanin'"),
        (dict(type="VarianceScaling", scale=0), "above 0"),
        (dict(type="LeCun", distribution="gauss"), "distribution must be"),
    ],
)
def test_wrong_arguments(rule: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.ArgumentError, match=text):
        initcfg.plan(nn.Linear(3, 3), dict(rule, layer="Linear"))
