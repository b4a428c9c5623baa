"""Numbers that the type of a tensor here does not hold are never made others in silence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from adapted import Holder, only_load
from torch import nn

import initcfg
from initcfg import errors
from initcfg.compat.mmengine import BaseModule


def _rule(there: Any, **more: Any) -> dict[str, Any]:
    return dict(type="Pretrained", checkpoint={"b": there, "w": torch.ones(1)}, **more)


def _model(dtype: torch.dtype) -> Holder:
    return Holder(b=torch.zeros(3).to(dtype), w=(1,))


_LOSSES = [
    (torch.tensor([1.5, 2, 3]), torch.int64, "does not hold 1.5"),
    (torch.tensor([torch.nan, 2, 3]), torch.int32, "does not hold nan"),
    (torch.tensor([1e19, 2, 3]), torch.int64, "does not hold 9.99"),
    (torch.tensor([-1, 2, 300]), torch.uint8, "does not hold -1 and 1 other number"),
    (torch.tensor([2**40, 2, 3]), torch.int32, "does not hold 1099511627776"),
    (torch.tensor([-1, 2, 3]), torch.uint64, "does not hold -1"),
    (torch.tensor([2**63, 2, 3], dtype=torch.uint64), torch.int64, "does not hold 9223372036854775808"),
    (torch.tensor([0, 2, 1], dtype=torch.uint8), torch.bool, "does not hold 2"),
    (torch.tensor([0.5, 0, 1]), torch.bool, "does not hold 0.5"),
    (torch.tensor([1 + 1j, 2, 3]), torch.int64, "does not hold (1+1j)"),
    (np.array([1.5, 2, 3]), torch.int64, "does not hold 1.5"),
]


@pytest.mark.parametrize(("there", "dtype", "told"), _LOSSES)
def test_whole_numbers_and_truth_values_are_looked_at_for_the_plan(there, dtype, told):
    with pytest.raises(errors.CheckpointError) as caught:
        initcfg.plan(_model(dtype), _rule(there))
    assert told in caught.value.problem
    assert "adapt={'b': 'dtype'}" in str(caught.value.fix)
    assert caught.value.parameter == "b"
    # Who asks for the cast gets torch's.
    model, peer = _model(dtype), _model(dtype)
    initcfg.init_weights(model, _rule(there, adapt={"b": "dtype"}))
    given = torch.as_tensor(there)
    peer.b.copy_(given.real if given.is_complex() else given)
    assert torch.equal(model.b, peer.b)


@pytest.mark.parametrize(
    ("there", "dtype"),
    [
        (torch.tensor([1.0, 2, 3]), torch.int64),
        (torch.tensor([0, 1, 255]), torch.uint8),
        (torch.tensor([0, 1, 1], dtype=torch.uint8), torch.bool),
        (torch.tensor([0.0, 1, 1]), torch.bool),
        (torch.tensor([True, False, True]), torch.int32),
        (torch.tensor([-(2.0**63), 0, 3]), torch.int64),
    ],
)
def test_numbers_that_stay_what_they_are_load_as_in_torch(there, dtype):
    model, peer = _model(dtype), _model(dtype)
    plan = initcfg.plan(model, _rule(there))
    plan.apply(model)
    peer.load_state_dict({"b": there, "w": torch.ones(1)})
    assert torch.equal(model.b, peer.b)
    kinds = tuple(str(each).removeprefix("torch.") for each in (there.dtype, dtype))
    assert only_load(plan).converted == ((*kinds, 1),)


@pytest.mark.parametrize(
    ("there", "dtype"),
    [
        (torch.tensor([1e300, 2, 3], dtype=torch.float64), torch.float32),
        (torch.tensor([1e6, 2, 3]), torch.float16),
        (torch.tensor([torch.finfo(torch.float32).min, 2, 3]), torch.bfloat16),
        (torch.tensor([1e20, 2, 3], dtype=torch.bfloat16), torch.float16),
        (torch.tensor([1e300 + 1j, 2, 3], dtype=torch.complex128), torch.complex64),
        (torch.tensor([500.0, 2, 3]), torch.float8_e4m3fn),
    ],
)
def test_what_would_become_infinite_is_an_error_before_the_first_write(there, dtype, tmp_path):
    torch.save({"b": there, "w": torch.ones(1)}, tmp_path / "a.pth")
    model = _model(dtype)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth")))
    assert only_load(plan).narrowed == ("b",)
    for each in (plan, initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))):
        with pytest.raises(errors.CheckpointError, match="does not hold") as caught:
            each.apply(model)
        assert caught.value.parameter == "b"
        assert model.w.tolist() == [0.0]


def test_what_is_infinite_already_or_only_rounded_loads():
    there = torch.tensor([torch.inf, torch.nan, 1 / 3], dtype=torch.float64)
    model = _model(torch.float32)
    ledger = initcfg.init_weights(model, _rule(there))
    assert torch.equal(model.b, there.float()) or model.b.isnan().sum() == 1
    assert ledger["b"].loaded.non_finite == 2


def test_the_numbers_after_an_adaptation_count(tmp_path):
    numbers = torch.tensor([[100.0, -100.0]]).to(torch.float8_e4m3fn)
    state = {"weight": numbers, "weight_scale": torch.tensor(1000.0)}
    model = nn.Linear(2, 1, bias=False).half()
    with pytest.raises(errors.CheckpointError, match="does not hold"):
        initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state, adapt="dequantize"))
    state["weight_scale"] = torch.tensor(10.0)
    initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state, adapt="dequantize"))
    assert model.weight.tolist() == [[960.0, -960.0]]


class Old(BaseModule):
    def __init__(self, state: Any) -> None:
        super().__init__(dict(type="Pretrained", checkpoint=state))
        self.fc = nn.Linear(2, 2, bias=False)
        self.register_buffer("count", torch.zeros(2, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"fc.weight": torch.tensor([[100, 2], [3, 4]], dtype=torch.int8)},
            "'fc.weight' (int8 there, float32",
        ),
        (
            {"fc.weight": torch.ones(2, 2, dtype=torch.int8), "fc.SCB": torch.ones(2)},
            "'fc.weight' (int8 there, float32 here; bitsandbytes, int8",
        ),
        ({"count": torch.tensor([-1, 300])}, "'count' (int64 there, uint8 here; it does not hold -1)"),
        ({"fc.weight": torch.full((2, 2), torch.inf).double()}, "does not hold inf"),
        ({"fc.weight": torch.full((2, 2), 1e300, dtype=torch.float64)}, "does not hold 1e+300 and 3 other"),
    ],
)
def test_under_compat_numbers_are_copied_as_mmengine_copies_them_and_that_is_said(change, told, caplog):
    state = {"fc.weight": torch.ones(2, 2), "count": torch.zeros(2, dtype=torch.uint8)} | change
    model, peer = Old(state), Old(state)
    model.init_weights()
    peer.load_state_dict({name: state[name] for name in ("fc.weight", "count")})
    assert torch.equal(model.fc.weight, peer.fc.weight) and torch.equal(model.count, peer.count)
    if told == "does not hold inf":
        # It was infinite already.
        assert told not in caplog.text
        return
    assert told in caplog.text and "as" in caplog.text and "original" in caplog.text
    assert "ignore=" not in caplog.text


def test_under_compat_packed_weights_are_named(caplog):
    state = {"fc.qweight": torch.ones(2, 2, dtype=torch.int32), "count": torch.zeros(2, dtype=torch.uint8)}
    Old(state).init_weights()
    assert "quantized there, and left alone as in the original: 'fc.weight'" in caplog.text


def test_what_cannot_be_read_says_so_and_no_cast(tmp_path):
    np.savez(tmp_path / "a.npz", weight=np.ones((2, 2), np.float32), bias=np.array([1, None], dtype=object))
    sparse = {"weight": torch.ones(2, 2).to_sparse(), "bias": torch.ones(2)}
    torch.save(sparse, tmp_path / "b.pth")
    torch.save({"weight": torch.ones(2, 2, device="meta"), "bias": torch.ones(2)}, tmp_path / "c.pth")
    for file, told in (("a.npz", "Python objects"), ("b.pth", "sparse"), ("c.pth", "meta")):
        with pytest.raises(errors.CheckpointError, match=told) as caught:
            initcfg.plan(nn.Linear(2, 2), dict(type="Pretrained", checkpoint=str(tmp_path / file)))
        assert "adapt" not in str(caught.value.fix) and "Or exclude it." in str(caught.value.fix)
        name = caught.value.parameter
        assert name == ("bias" if file == "a.npz" else "weight")
        rule = dict(type="Pretrained", checkpoint=str(tmp_path / file), exclude=name)
        assert initcfg.plan(nn.Linear(2, 2), rule).loads[0].loaded == 1


def test_a_float_of_a_byte_without_scales_says_that_there_are_none():
    state = {"weight": torch.ones(2, 2).to(torch.float8_e4m3fn), "bias": torch.ones(2)}
    for adapt, told in ((None, "No scale stands beside it"), ("dequantize", "nothing to dequantize it with")):
        with pytest.raises(errors.CheckpointError) as caught:
            initcfg.plan(nn.Linear(2, 2), dict(type="Pretrained", checkpoint=state, adapt=adapt))
        assert told in str(caught.value.fix)
