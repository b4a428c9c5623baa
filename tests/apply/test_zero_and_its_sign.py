"""What must be as it was, or like another, is so bit for bit: zero with its sign, NaN with its bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg._api.locks.built import held_text
from initcfg._stream.writing import all_the_same, same_bits
from initcfg.errors import CheckpointError
from initcfg.values import Constant

ZEROS = (0.0, -0.0)


class Flips(nn.Module):
    """Each forward pass leaves -0 where 0 was: in a buffer, and in a tensor that it holds beside."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("state", torch.tensor([0.0, 1.0]))
        self.beside = torch.tensor([0.0, 1.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.state[0] = self.beside[0] = -0.0
        return self.linear(x)

    def signs(self) -> list[bool]:
        return [bool(each[0].signbit()) for each in (self.state, self.beside)]


def test_what_measuring_changes_comes_back() -> None:
    model = Flips()
    rule = dict(type="LSUV", layer="Linear", batch=torch.randn(16, 3))
    initcfg.init_weights(model, rule, seed=0)
    assert model.signs()[:1] == [False]


def test_what_a_diagnosis_changes_comes_back() -> None:
    model = Flips()
    initcfg.diagnose(
        model, (torch.randn(8, 3), torch.randn(8, 2)), lambda out, to: (out - to).square().mean(), steps=1
    )
    assert model.signs() == [False, False]


def test_a_traced_tensor_of_both_zeros_is_not_one_constant() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.from_numpy(np.array(ZEROS, np.float32)))
            self.minus = nn.Parameter(torch.from_numpy(np.array([-0.0, -0.0], np.float32)))

    plan = initcfg.trace(Both)
    assert not isinstance(plan["weight"].value, Constant)
    model = Both()
    nn.init.ones_(model.weight)
    nn.init.ones_(model.minus)
    plan.apply(model, seed=0)
    assert model.weight.signbit().tolist() == [False, True] and not model.weight.any()
    assert model.minus.signbit().tolist() == [True, True] and not model.minus.any()


def _tied(first: Any, other: Any) -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 2, bias=False), "b": nn.Linear(1, 2, bias=False)})
    model["b"].weight = model["a"].weight
    state = {"a.weight": torch.tensor([[first], [1.0]]), "b.weight": torch.tensor([[other], [1.0]])}
    initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state))
    assert same_bits(model["a"].weight.detach(), state["a.weight"])


@pytest.mark.parametrize(
    ("first", "other"), [(0.0, -0.0), (float("nan"), 0.0), (float("inf"), torch.finfo().max)]
)
def test_two_tensors_for_a_tied_one_differ(first: float, other: float) -> None:
    with pytest.raises(CheckpointError, match="two different tensors"):
        _tied(first, other)


@pytest.mark.parametrize("number", [-0.0, float("nan"), float("-inf")])
def test_two_tensors_for_a_tied_one_are_the_same(number: float) -> None:
    _tied(number, number)


def test_a_lock_tells_the_zeros_apart() -> None:
    assert held_text(torch.tensor(ZEROS)) != held_text(torch.zeros(2))
    assert held_text(torch.full((2,), float("nan"))) == held_text(torch.full((2,), float("nan")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64, torch.float8_e4m3fn])
def test_bits_of_odd_tensors(dtype: torch.dtype) -> None:
    zeros = torch.zeros(2, 3, dtype=dtype)
    other = zeros.clone()
    other.view(torch.uint8)[0, -1] = 128
    assert same_bits(zeros, zeros.clone()) and not same_bits(zeros, other)
    assert same_bits(zeros.t(), zeros.t().contiguous()) and not same_bits(zeros, zeros.t())
    assert all_the_same(zeros) and not all_the_same(other) and all_the_same(zeros[:0])


def test_bits_of_what_has_none_of_its_own() -> None:
    meta, sparse = torch.zeros(2, device="meta"), torch.eye(2).to_sparse()
    assert same_bits(meta, meta) and not same_bits(meta, torch.zeros(3))
    conjugate = torch.tensor([1 + 2j]).conj()
    assert same_bits(conjugate, torch.tensor([1 - 2j])) and not same_bits(sparse, torch.eye(2))
