"""What classes declare of their tensors' axes, and what is known of other libraries' layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg._model import layouts
from initcfg.errors import TensorError
from initcfg.values import Constant, Layout, Normal

KAIMING = dict(type="Kaiming", mode="fan_in", nonlinearity="linear", bias=0.5)


@pytest.fixture(autouse=True)
def _unregistered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(layouts, "_declarations", dict(layouts._declarations))
    yield
    layouts._declaration_of.cache_clear()


class InOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 100))
        self.bias = nn.Parameter(torch.zeros(100))


class Below(InOut):
    pass


def in_out(module: Any) -> dict[str, Layout]:
    return {"weight": Layout(tuple(module.weight.shape), in_axis=(0,), out_axis=(1,))}


@pytest.mark.parametrize("key", [InOut, "InOut", f"{__name__}.InOut"])
@pytest.mark.parametrize("select", [dict(layer="InOut"), dict(name="0"), dict(param="0.weight")], ids=str)
def test_a_declared_layout_gives_the_fans(key: Any, select: dict[str, Any]) -> None:
    rule = dict(KAIMING, **select)
    if "param" in select:
        rule.pop("bias")
    assert initcfg.plan(nn.Sequential(Below()), rule)["0.weight"].value == Normal(0.0, 0.1)
    initcfg.register_layout(key)(in_out)
    plan = initcfg.plan(nn.Sequential(Below()), rule)
    assert plan["0.weight"].value == Normal(0.0, 0.5)
    assert plan["0.weight"].layout.fans() == (4, 100)
    assert plan["0.bias"].value == (plan["0.bias"].value if "param" in select else Constant(0.5))


def test_the_nearest_class_wins_and_a_rule_over_it() -> None:
    initcfg.register_layout(InOut, in_out)
    initcfg.register_layout("Below", lambda module: {})
    assert initcfg.plan(Below(), dict(KAIMING, layer="InOut"))["weight"].value == Normal(0.0, 0.1)
    turned = dict(KAIMING, layer="InOut", in_axis=1, out_axis=0)
    assert initcfg.plan(InOut(), turned)["weight"].value == Normal(0.0, 0.1)
    # The original knows nothing of it.
    exact = initcfg.plan(InOut(), dict(KAIMING, layer="InOut"), compat="mmengine")
    assert exact["weight"].value == Normal(0.0, 0.1)


def test_other_attributes_are_reached() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.up_bias = nn.Parameter(torch.zeros(8, 4, 9)), nn.Parameter(torch.zeros(8, 9))
            self.scale = nn.Parameter(torch.ones(9))

    @initcfg.register_layout(Experts)
    def experts(module: Any) -> dict[str, Layout]:
        up = Layout((8, 4, 9), in_axis=(1,), out_axis=(2,), batch_axis=(0,))
        return {"up": up, "up_bias": Layout((8, 9))}

    plan = initcfg.plan(Experts(), dict(KAIMING, layer="Experts"))
    assert (plan["up"].value, plan["up_bias"].value) == (Normal(0.0, 0.5), Constant(0.5))
    assert plan["scale"].rule is None
    stacked = initcfg.plan(Experts(), dict(type="Orthogonal", layer="Experts"))["up"].value
    assert stacked == initcfg.values.Orthogonal(1.0, rows=(2,), stack=(0,))


def fails(module: Any) -> Any:
    raise KeyError("nothing")


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (lambda module: {"weights": Layout((4, 100))}, "names 'weights', which is no tensor"),
        (lambda module: {"weight": (0, 1)}, "which is no dict of layouts"),
        (lambda module: {"weight": Layout((4,))}, r"gave 'weight' the shape \(4,\), and it has \(4, 100\)"),
        (lambda module: {"weight": Layout((100, 4))}, r"gave 'weight' the shape \(100, 4\), and it "),
        (fails, r"\(.*test_declared_layouts.py:\d+\) raised KeyError: 'nothing'"),
    ],
)
def test_a_wrong_declaration(declaration: Any, message: str) -> None:
    initcfg.register_layout("InOut", declaration)
    with pytest.raises(TensorError, match=message) as found:
        initcfg.plan(nn.Sequential(InOut()), dict(KAIMING, layer="InOut"))
    assert str(found.value.where).startswith("init_cfg (test_declared_layouts.py:")


@pytest.mark.parametrize(("key", "function"), [(int, in_out), (3, in_out), ("", in_out), (InOut, 7)])
def test_a_wrong_registration(key: Any, function: Any) -> None:
    with pytest.raises(TensorError, match="A layout is"):
        initcfg.register_layout(key, function)


class Conv1D(nn.Module):
    """As OpenAI's GPT has it, here without transformers."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.empty(nx, nf)), nn.Parameter(torch.empty(nf))


def test_the_linear_layer_of_gpt() -> None:
    plan = initcfg.plan(Conv1D(100, 4), dict(KAIMING, layer="Conv1D"))
    assert plan["weight"].value == Normal(0.0, 0.5)
    xavier = dict(type="Xavier", layer="Conv1D")
    assert initcfg.plan(Conv1D(6, 2), xavier)["weight"].layout.fans() == (2, 6)


def test_another_class_of_that_name_is_no_such_layer() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 100))

    Other.__name__ = "Conv1D"
    assert initcfg.plan(Other(), dict(KAIMING, layer="Conv1D"))["weight"].value == Normal(0.0, 0.1)


@pytest.mark.parametrize(("transposed", "std"), [(True, 0.5), (False, 0.1)])
def test_stacked_experts_say_how_they_lie(transposed: bool, std: float) -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.is_transposed = transposed
            self.up_proj = nn.Parameter(torch.zeros(8, 4, 100))

    rule = dict(type="Kaiming", mode="fan_in", nonlinearity="linear", param="up_proj")
    assert initcfg.plan(Experts(), rule)["up_proj"].value == Normal(0.0, std)


def test_layers_of_torch_have_theirs() -> None:
    """Neighbors that store otherwise than a Linear, and those that do not."""
    fans = {
        nn.Linear(4, 9): (4, 9),
        nn.Bilinear(3, 5, 7): (15, 35),
        nn.ConvTranspose1d(4, 6, 3, groups=2): (6, 9),
        nn.Conv2d(4, 6, 3, groups=2): (18, 27),
        nn.Embedding(11, 5): (5, 11),
    }
    for module, expected in fans.items():
        plan = initcfg.plan(module, dict(type="Xavier", layer=type(module).__name__))
        assert plan["weight"].layout.fans() == expected


@pytest.mark.peers
def test_transformers_and_einops() -> None:
    from einops.layers.torch import EinMix
    from transformers.pytorch_utils import Conv1D as Theirs

    assert initcfg.plan(Theirs(100, 4), dict(KAIMING, layer="Conv1D"))["weight"].value == Normal(0.0, 0.5)
    mix = EinMix("t b (h i) -> t b (h o)", "h i o", "h o", h=2, i=4, o=100)
    plan = initcfg.plan(mix, dict(type="Xavier", layer="EinMix"))
    assert plan["weight"].layout.fans() == (4, 100)
