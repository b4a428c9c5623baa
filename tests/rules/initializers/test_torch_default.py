"""TorchDefault: what torch's own layers do by themselves, as a rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn
from trees import LEAVES

import initcfg
from initcfg import errors
from initcfg.values import Constant, Uniform


def pending(make: Callable[[], nn.Module]) -> nn.Module:
    with initcfg.deferred():
        return make()


class Own(nn.Linear):
    """With a way of its own."""

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 3)
        nn.init.constant_(self.bias, 4)


@pytest.mark.parametrize("name", [name for name in LEAVES if name != "Bag"])
def test_torch_default_is_what_torch_does(name: str) -> None:
    plan = initcfg.plan(pending(LEAVES[name]))
    cls = type(LEAVES[name]()).__name__
    made = initcfg.plan(LEAVES[name](), dict(type="TorchDefault", layer=cls))
    assert {key: item.value for key, item in made.items()} == {key: item.value for key, item in plan.items()}


def test_torch_default_takes_a_bias() -> None:
    plan = initcfg.plan(nn.Linear(4, 2), dict(type="TorchDefault", layer="Linear", bias_prob=0.5))
    assert plan["weight"].value == initcfg.plan(pending(lambda: nn.Linear(4, 2)))["weight"].value
    assert plan["bias"].value == Constant(-0.0)
    plan = initcfg.plan(nn.Linear(4, 2), dict(type="TorchDefault", layer="Linear", bias=None))
    assert plan["bias"].value.kind == "Keep"


def test_torch_default_of_single_tensors() -> None:
    plan = initcfg.plan(nn.Sequential(nn.Linear(4, 2)), dict(type="TorchDefault", param="*.bias"))
    assert plan["0.bias"].value == Uniform(-0.5, 0.5)
    buffers = initcfg.plan(nn.BatchNorm1d(2), dict(type="TorchDefault", buffer="running_*")).buffers
    assert {name: item.value for name, item in buffers.items()} == {
        "running_mean": Constant(0.0),
        "running_var": Constant(1.0),
    }


def test_torch_default_of_a_class_that_it_does_not_know() -> None:
    with pytest.raises(errors.TensorError, match="does not know what a Own does") as caught:
        initcfg.plan(nn.Sequential(Own(2, 2)), dict(type="TorchDefault", layer="Linear"))
    assert caught.value.parameter == "0.weight"
