"""Layers of Keras, imitated: variables and layers in lists, and one ParameterDict under names that count."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import count
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg._model import replace_tensor
from initcfg.errors import LazyParameterError, TensorError

numbers = count()


class Variable:
    def __init__(self, name: str, *shape: int) -> None:
        self.name, self._value = name, nn.Parameter(torch.full(shape, 3.0))


class Layer(nn.Module):
    """What Keras 3 makes of a layer on torch."""

    def __init__(self, *shapes: tuple[str, tuple[int, ...]], name: str | None = None) -> None:
        super().__init__()
        plain = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(self).__name__).lower()
        self.name = name or f"{plain}_{next(numbers)}"
        self.built = bool(shapes)
        self._trainable_variables = [Variable(each, *shape) for each, shape in shapes]
        self._non_trainable_variables: list[Variable] = []
        self._layers: list[Layer] = []

    def mirror(self) -> None:
        everything = [each for layer in [self, *self._layers] for each in layer._trainable_variables]
        path = f"{self.name}_{next(numbers)}"
        self._torch_params = nn.ParameterDict(
            {f"{path}/{place}/{each.name}": each._value for place, each in enumerate(everything)}
        )


class Dense(Layer):
    def __init__(self, inputs: int, outputs: int, **named: Any) -> None:
        super().__init__(("kernel", (inputs, outputs)), ("bias", (outputs,)), **named)


class Convolution(Layer):
    pass


class BaseConvTranspose(Layer):
    pass


class BaseDepthwiseConv(Layer):
    pass


class EinsumDense(Layer):
    pass


class BatchNormalization(Layer):
    pass


class Model(Layer):
    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.built = True
        self._layers = list(layers)
        self.mirror()


@pytest.fixture(autouse=True)
def keras(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from initcfg._model.keras_layers import is_keras

    module = ModuleType("keras.src.layers.layer")
    module.Layer = Layer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    is_keras.cache_clear()
    yield
    is_keras.cache_clear()


RULES = [dict(type="Xavier", layer="Dense"), dict(type="Normal", name="head", std=0.01, bias_prob=0.01)]


def made() -> Model:
    return Model(Dense(4, 8), Dense(8, 8), Dense(8, 3, name="head"))


def test_rules_reach_layers_under_names_that_count_siblings_alone() -> None:
    made()
    plan = initcfg.plan(made(), RULES)
    assert list(plan) == [
        f"{layer}.{name}" for layer in ("dense", "dense_1", "head") for name in ("kernel", "bias")
    ]
    assert plan["dense.kernel"].value.args == {"mean": 0.0, "std": pytest.approx((2 / 12) ** 0.5)}
    assert plan["head.kernel"].value.args == {"mean": 0.0, "std": 0.01}
    assert plan["head.bias"].value.args["val"] == pytest.approx(-4.59512)


def test_two_builds_start_alike_and_the_mirror_shows_it() -> None:
    first, second = made(), made()
    initcfg.init_weights(first, RULES, seed=0)
    initcfg.init_weights(second, RULES, seed=0)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not any(each.eq(3).any() for each in first.parameters())


@pytest.mark.parametrize(
    ("layer", "fans"),
    [
        (Convolution(("kernel", (3, 3, 4, 8))), (36, 72)),
        (BaseConvTranspose(("kernel", (3, 3, 8, 4))), (36, 72)),
        (BaseDepthwiseConv(("kernel", (3, 3, 4, 2))), (9, 18)),
    ],
)
def test_fans_of_kernels(layer: Layer, fans: tuple[int, int]) -> None:
    plan = initcfg.plan(Model(layer), dict(type="Xavier", layer=type(layer).__name__))
    (planned,) = plan.values()
    assert planned.layout is not None and planned.layout.fans() == fans


def test_the_equation_says_what_the_axes_are() -> None:
    into, out = EinsumDense(("kernel", (8, 2, 5))), EinsumDense(("kernel", (2, 5, 8)))
    into.equation, out.equation = "abc,cde->abde", "abcd,cde->abe"  # type: ignore[assignment]
    plan = initcfg.plan(Model(into, out), dict(type="Xavier", layer="EinsumDense"))
    assert [each.layout.fans() for each in plan.values() if each.layout] == [(8, 10), (10, 8)]


def test_gains_are_weights_and_means_are_buffers() -> None:
    norm = BatchNormalization(("gamma", (4,)), ("beta", (4,)))
    norm._non_trainable_variables = [Variable("moving_mean", 4)]
    model = Model(norm)
    plan = initcfg.plan(model, dict(type="Constant", layer="BatchNormalization", val=1, bias=0.5))
    assert {name: each.value.args["val"] for name, each in plan.items()} == {
        "batch_normalization.gamma": 1.0,
        "batch_normalization.beta": 0.5,
    }
    plan.apply(model)
    assert norm._non_trainable_variables[0]._value.eq(3).all()


def test_names_are_attributes_where_there_are_any() -> None:
    model = Model(Dense(2, 2), Dense(2, 2), Dense(2, 2, name="query"))
    model.first = model._layers[0]
    model.blocks = [model._layers[1]]  # type: ignore[assignment]
    model._query_dense = model._layers[2]
    assert list(initcfg.plan(model))[::2] == ["first.kernel", "blocks.0.kernel", "query.kernel"]


def test_a_module_of_torch_in_it_keeps_its_own_names() -> None:
    wrapper = Layer()
    wrapper.built = True
    wrapper.module = nn.Linear(2, 2)
    wrapper._trainable_variables = [Variable("variable"), Variable("variable")]
    for variable, own in zip(wrapper._trainable_variables, wrapper.module.parameters(), strict=True):
        variable._value = own
    assert list(initcfg.plan(Model(wrapper))) == ["layer.module.weight", "layer.module.bias"]


def test_a_layer_that_is_not_built_has_nothing_to_plan() -> None:
    with pytest.raises(LazyParameterError, match="has no variables before it is built"):
        initcfg.plan(Model(Layer()), dict(type="Xavier", layer="Layer"))


def test_its_variables_are_not_replaced() -> None:
    with pytest.raises(TensorError, match="a variable of the Keras layer Dense"):
        replace_tensor(made()._layers[0], "kernel", torch.zeros(4, 8))


@pytest.mark.parametrize("kind", ["Dirac", "DeltaOrthogonal", "Bilinear", "ICNR", "LooksLinear", "ZerO"])
def test_what_is_laid_out_by_place_refuses_channels_elsewhere(kind: str) -> None:
    with pytest.raises(TensorError, match=f"{kind} places its numbers in kernels that have outputs"):
        initcfg.plan(Model(Convolution(("kernel", (4, 4, 4, 4)))), dict(type=kind, layer="Convolution"))
