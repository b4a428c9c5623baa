"""What a type cannot hold is found in the plan, and in a plan from JSON before the first write."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors


@pytest.mark.parametrize(
    ("rule", "dtype", "text"),
    [
        (dict(type="Xavier", gain=-1), torch.float32, "standard deviation is not negative"),
        (dict(type="Normal", std=float("inf")), torch.float32, "not finite"),
        (dict(type="Normal", std=1e38), torch.float32, "beyond float32"),
        (dict(type="Normal", std=1e5), torch.float16, "beyond float16, which ends at 65504"),
        (dict(type="Uniform", a=-1e5, b=1e5), torch.float16, "beyond float16"),
        (dict(type="Uniform", a=float("-inf"), b=0), torch.float32, "not finite"),
        (dict(type="Constant", val=70000), torch.float16, "70000 is beyond float16"),
        (dict(type="Constant", val=1e39), torch.float32, "beyond float32"),
        (dict(type="Constant", val=3.7), torch.int64, "3.7 is not a value of int64"),
        (dict(type="Constant", val=-1), torch.uint8, "-1 is not a value of uint8"),
        (dict(type="Constant", val=0.5), torch.bool, "0.5 is not a value of bool"),
        (dict(type="Normal"), torch.int64, "floating-point"),
    ],
)
def test_values_that_a_type_cannot_hold(rule, dtype, text):
    model = nn.Module()
    tensor = torch.zeros(3, 3).to(dtype)
    model.register_parameter("weight", nn.Parameter(tensor, requires_grad=False))
    with pytest.raises(errors.TensorError) as caught:
        initcfg.plan(model, dict(rule, param="weight"))
    assert text in str(caught.value)
    assert "weight, shape (3, 3)" in str(caught.value)
    assert "init_cfg" in str(caught.value)


def test_infinite_constants_are_values():
    model = nn.Linear(2, 2)
    initcfg.init_weights(model, dict(type="Constant", val=float("-inf"), layer="Linear"))
    assert torch.isinf(model.weight).all()


def test_a_plan_from_json_is_checked_too():
    model = nn.Linear(2, 2)
    data = initcfg.plan(model, dict(type="Normal", layer="Linear")).to_json()
    data["parameters"]["weight"]["value"]["std"] = -3
    before = model.weight.clone()
    with pytest.raises(errors.ApplyError, match="not negative"):
        initcfg.Plan.from_json(data).apply(model)
    assert torch.equal(model.weight, before)
