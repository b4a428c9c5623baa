"""Parameters that DeepSpeed has cut up, by a stand-in with its attributes: refused in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import TensorError

RULE = dict(type="Constant", layer="Linear", val=2)


def partitioned(**attributes: Any) -> Any:
    """As ``zero.Init`` leaves a model: a number of its own, its shape, and no elements."""
    model: Any = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    weight: Any = model[0].weight
    weight.ds_id, weight.ds_tensor, weight.ds_shape = 0, torch.zeros(3), torch.Size((2, 3))
    weight.ds_status = SimpleNamespace(name="NOT_AVAILABLE")
    weight.data = torch.empty(0)
    for name, value in attributes.items():
        setattr(weight, name, value)
    return model


@pytest.mark.parametrize("door", [initcfg.plan, initcfg.init_weights])
def test_it_is_refused_with_its_shape_and_a_remedy(door: Any) -> None:
    with pytest.raises(TensorError, match="ZeRO stage 3") as caught:
        door(partitioned(), RULE)
    assert caught.value.parameter == "0.weight" and caught.value.shape == (2, 3)
    assert "before deepspeed.initialize" in str(caught.value.fix)
    assert "GatheredParameters(list(model.parameters()), modifier_rank=0)" in str(caught.value.fix)


def test_two_attributes_alone_are_enough() -> None:
    model = nn.Linear(3, 2)
    weight: Any = model.weight
    weight.ds_id, weight.ds_tensor = 0, torch.zeros(3)
    with pytest.raises(TensorError, match="ZeRO stage 3"):
        initcfg.plan(model, RULE)


def test_while_it_is_gathered_it_is_a_parameter() -> None:
    model = partitioned(ds_status=SimpleNamespace(name="AVAILABLE"))
    model[0].weight.data = torch.empty(2, 3)
    initcfg.init_weights(model, RULE)
    assert model[0].weight.eq(2).all()
    model = partitioned(ds_status=SimpleNamespace(name="INFLIGHT"))
    model[0].weight.data = torch.empty(2, 3)
    with pytest.raises(TensorError, match="taken it away"):
        initcfg.init_weights(model, RULE)
