"""Fans are the layer's: of groups, of parts, of transposed weights, and of axes that a rule names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors, values


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
