"""What of a model's tensors grows from one build to a wider one."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import nn

from initcfg._model import Shapes, compare_widths, shapes_of
from initcfg.errors import PlanError


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, experts: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.router = nn.Linear(width, experts, bias=False)
        self.conv = nn.Conv1d(width, width, 3)
        self.depthwise = nn.Conv1d(width, width, 3, groups=width)
        self.up = nn.ConvTranspose1d(width, 2 * width, 3)


class Net(nn.Module):
    def __init__(self, width: int, heads: int = 4, layers: int = 2, tied: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(100, width)
        self.position = nn.Parameter(torch.zeros(1, 10, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, 100)
        if tied:
            self.head.weight = self.table.weight


def compared(wide: nn.Module, narrow: nn.Module):
    return compare_widths(wide, shapes_of(narrow))


def on_meta(*args: int, **kwargs) -> Net:
    with torch.device("meta"):
        return Net(*args, **kwargs)


def test_kinds_and_fans() -> None:
    found = compared(on_meta(32, 8), on_meta(16, 4)).tensors
    kinds = {
        name.removeprefix("blocks.1."): each.kind for name, each in found.items() if "blocks.0" not in name
    }
    assert kinds == {
        "table.weight": "input",
        "position": "input",
        "norm.weight": "vector",
        "norm.bias": "vector",
        "attention.qkv.weight": "hidden",
        "attention.qkv.bias": "vector",
        "attention.out.weight": "hidden",
        "attention.out.bias": "vector",
        "router.weight": "hidden",  # it has no more outputs, but is no head
        "conv.weight": "hidden",
        "conv.bias": "vector",
        "depthwise.weight": "input",
        "depthwise.bias": "vector",
        "up.weight": "hidden",
        "up.bias": "vector",
        "head.weight": "output",
        "head.bias": "fixed",
    }
    fans = {
        name.removeprefix("blocks.0."): (each.fan_in, each.base_fan_in, each.fan_out, each.base_fan_out)
        for name, each in found.items()
        if each.kind in ("hidden", "output") and "blocks.1" not in name
    }
    assert fans["attention.qkv.weight"] == (32, 16, 96, 48)
    assert fans["conv.weight"] == (96, 48, 96, 48)
    assert fans["up.weight"] == (96, 48, 192, 96)
    assert fans["head.weight"] == (32, 16, 100, 100)
    assert (found["table.weight"].fan_in, found["table.weight"].base_fan_in) == (1, 1)
    assert found["position"].slot == "raw"


def test_a_wide_model_may_be_deeper() -> None:
    widths = compared(on_meta(32, 8, layers=5), on_meta(16, 4))
    assert (widths.layers, widths.base_layers) == (5, 2)
    assert widths.tensors["blocks.4.conv.weight"].base_shape == (16, 16, 3)


def test_conv1d_of_transformers_is_in_out() -> None:
    class Conv1D(nn.Module):
        def __init__(self, outputs: int, inputs: int) -> None:
            super().__init__()
            self.nf = outputs
            self.weight = nn.Parameter(torch.empty(inputs, outputs))

    narrow, wide = nn.Sequential(Conv1D(10, 16)), nn.Sequential(Conv1D(10, 32))
    assert compared(wide, narrow).tensors["0.weight"].kind == "output"


def test_growing_heads_are_seen_and_fixed_ones_are_none() -> None:
    grown = compared(on_meta(32, 4), on_meta(16, 4)).grown_heads
    assert grown == (("blocks.0.attention", 8, 4), ("blocks.1.attention", 8, 4))
    assert compared(on_meta(32, 8), on_meta(16, 4)).grown_heads == ()
    torch_attention = [nn.MultiheadAttention(width, 2) for width in (16, 32)]
    assert compared(torch_attention[1], torch_attention[0]).grown_heads == (("", 16, 8),)


def test_a_tied_head_is_seen() -> None:
    assert compared(on_meta(32, 8, tied=True), on_meta(16, 4, tied=True)).tied == ["head.weight"]
    assert compared(on_meta(32, 8), on_meta(16, 4)).tied == []


def test_the_same_model_grows_nowhere() -> None:
    widths = compared(on_meta(16), on_meta(16))
    assert Counter(each.kind for each in widths.tensors.values()) == {
        "fixed": len(widths.tensors) - 1,
        "output": 1,
    }
    assert widths.tensors["head.weight"].kind == "output"  # the last weight, in no block
    assert not widths.grows


def test_shapes_survive_json() -> None:
    shapes = shapes_of(on_meta(16))
    assert Shapes.from_json(json.loads(json.dumps(shapes.to_json()))) == shapes
    assert shapes.layers == 2


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"format": "initcfg-plan"},
        {"format": "initcfg-shapes", "version": 2, "shapes": {}},
        {"format": "initcfg-shapes", "version": 1},
        {"format": "initcfg-shapes", "version": 1, "shapes": {"a": [1, -1]}},
        {"format": "initcfg-shapes", "version": 1, "shapes": {"a": [True]}},
        {"format": "initcfg-shapes", "version": 1, "shapes": {"a": [1]}, "heads": {"a": [1]}},
    ],
)
def test_other_json_is_refused(data: object) -> None:
    with pytest.raises(PlanError):
        Shapes.from_json(data)


def test_what_does_not_fit_its_base() -> None:
    with pytest.raises(PlanError, match="no parameter of this name"):
        compared(on_meta(32), nn.Linear(3, 3))
    with pytest.raises(PlanError, match="3 axes, and 2 in the base"):
        compared(nn.Conv1d(2, 2, 1), nn.Linear(2, 2))
    with pytest.raises(PlanError, match="grows along 3 axes"):
        compared(nn.Conv1d(8, 8, 5), nn.Conv1d(4, 4, 3))
    deeper = nn.Sequential(
        nn.Sequential(nn.Linear(4, 8)), nn.Sequential(nn.Linear(8, 4)), nn.Sequential(nn.Linear(4, 8))
    )
    with pytest.raises(PlanError, match="in several shapes"):
        compared(deeper, nn.Sequential(*list(deeper)[:2]))
