"""Layers of PyG, e3nn and torchtitan that store (in, out) or whole stacks, imitated by their dotted names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initcfg


def layer(path: str, **shapes: tuple[int, ...]) -> Any:
    home, _, name = path.rpartition(".")

    def build(module: Any) -> None:
        nn.Module.__init__(module)
        for attribute, shape in shapes.items():
            module.register_parameter(attribute, nn.Parameter(torch.zeros(shape)))

    return type(name, (nn.Module,), {"__module__": home, "__init__": build})()


@pytest.mark.parametrize(
    ("path", "shapes", "fans"),
    [
        (
            "torch_geometric.nn.dense.linear.HeteroLinear",
            {"weight": (3, 4, 6), "bias": (3, 6)},
            {"weight": (4, 6)},
        ),
        (
            "torch_geometric.nn.conv.rgcn_conv.RGCNConv",
            {"weight": (3, 4, 6), "comp": (5, 3), "root": (4, 6), "bias": (6,)},
            {"weight": (4, 6), "root": (4, 6)},
        ),
        ("torch_geometric.nn.conv.rgcn_conv.RGCNConv", {"weight": (5, 2, 8, 3)}, {"weight": (8, 3)}),
        ("e3nn.nn._fc._Layer", {"weight": (4, 16)}, {"weight": (4, 16)}),
        (
            "torchtitan.models.common.moe.GroupedExperts",
            {"w1_EFD": (8, 32, 16), "w2_EDF": (8, 16, 32)},
            {"w1_EFD": (16, 32), "w2_EDF": (32, 16)},
        ),
    ],
)
def test_fans(path: str, shapes: dict[str, tuple[int, ...]], fans: dict[str, tuple[int, int]]) -> None:
    made = layer(path, **shapes)
    plan = initcfg.plan(made, dict(type="Xavier", layer=type(made).__name__, distribution="uniform"))
    found = {name: plan[name].layout for name in fans}
    assert {name: each.fans() for name, each in found.items() if each} == fans
    for name, (fan_in, fan_out) in fans.items():
        assert plan[name].value.args["b"] == pytest.approx((6 / (fan_in + fan_out)) ** 0.5)
