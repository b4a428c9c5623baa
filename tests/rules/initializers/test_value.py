"""The initializer Value: any value as data, checked and taken as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from torch import nn

import initcfg
from initcfg import Plan, errors
from initcfg.values import Constant, CopyOf, Normal, Parts


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (3, "must be an object"),
        ({"kind": "Norml"}, "not a kind of value"),
        ({"kind": "Normal", "mean": 0.0}, "these are given"),
        ({"kind": "Normal", "mean": "x", "std": 1}, "mean of Normal is 'x'"),
        ({"kind": "Parts", "dim": 0, "sizes": 3, "values": []}, "sizes of Parts"),
        ({"kind": "Keep"}, "nothing that a rule can write"),
        ({"kind": "CopyOf", "source": "a", "value": {"kind": "Keep"}}, "nothing that a rule can write"),
    ],
)
def test_a_value_that_is_none(value: Any, problem: str) -> None:
    with pytest.raises(errors.ArgumentError, match=problem):
        initcfg.plan(nn.Linear(2, 2), dict(type="Value", layer="Linear", value=value))


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "Parts", "dim": 0, "sizes": [1, 2], "values": [{"kind": "Constant", "val": 1}] * 2},
        {"kind": "Parts", "dim": 2, "sizes": [1, 2], "values": [{"kind": "Constant", "val": 1}] * 2},
        {"kind": "PaddingRow", "index": 4, "value": {"kind": "Constant", "val": 1}},
        {"kind": "Dirac", "groups": 1},
        {"kind": "CopyOf", "source": "x", "value": {"kind": "Dirac", "groups": 1}},
    ],
)
def test_a_value_that_does_not_fit(value: Any) -> None:
    with pytest.raises(errors.TensorError, match="cannot be made") as caught:
        initcfg.plan(nn.Linear(3, 4), dict(type="Value", param="weight", value=value))
    assert caught.value.shape == (4, 3)


def test_a_value_is_taken_as_it_is() -> None:
    copy = {"kind": "CopyOf", "source": "other", "value": {"kind": "Normal", "mean": 0, "std": 1}}
    plan = initcfg.plan(nn.Embedding(4, 2, padding_idx=0), dict(type="Value", layer="Embedding", value=copy))
    assert plan["weight"].value == CopyOf("other", Normal(0.0, 1.0))
    assert isinstance(plan["weight"].value.value.mean, float)  # type: ignore[attr-defined]
    halves = Parts(0, (1, 1), (Constant(1.0), Normal(0.0, 1.0)))
    assert (
        initcfg.plan(nn.Linear(3, 2), dict(type="Value", param="weight", value=halves))["weight"].value
        == halves
    )
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
