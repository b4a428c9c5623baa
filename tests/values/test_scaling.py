"""A value times a factor: the distribution of the drawn tensor, multiplied."""

from __future__ import annotations

import math

import pytest
import torch

import initcfg
from initcfg.errors import TensorError
from initcfg.values import (
    Constant,
    Dirac,
    Eye,
    FromCheckpoint,
    Hadamard,
    Keep,
    Normal,
    Numbers,
    Opaque,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
    scaled,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Constant(3.0), Constant(1.5)),
        (Normal(1.0, 0.5), Normal(0.5, 0.25)),
        (Uniform(-1.0, 3.0), Uniform(-0.5, 1.5)),
        (TruncNormal(0.0, 1.0, -math.inf, 2.0), TruncNormal(0.0, 0.5, -math.inf, 1.0)),
        (Orthogonal(2.0, (0,)), Orthogonal(1.0, (0,))),
        (Sparse(0.1, 1.0), Sparse(0.1, 0.5)),
        (Eye(3.0), Eye(1.5)),
        (Hadamard(1.0), Hadamard(0.5)),
        (Repeat(0, 2, Normal(0.0, 1.0)), Repeat(0, 2, Normal(0.0, 0.5))),
        (PaddingRow(1, Normal(0.0, 1.0)), PaddingRow(1, Normal(0.0, 0.5))),
        (
            Parts(0, (2, 4), (Normal(0.0, 1.0), Constant(1.0))),
            Parts(0, (2, 4), (Normal(0.0, 0.5), Constant(0.5))),
        ),
    ],
)
def test_its_numbers_are_multiplied(value: Value, expected: Value) -> None:
    assert scaled(value, 0.5) == expected
    assert scaled(value, 1.0) is value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Normal(1.0, 0.5), Normal(-2.0, 1.0)),
        (Uniform(-1.0, 3.0), Uniform(-6.0, 2.0)),
        (TruncNormal(1.0, 1.0, -math.inf, 2.0), TruncNormal(-2.0, 2.0, -4.0, math.inf)),
        (Constant(1.0), Constant(-2.0)),
        (Orthogonal(1.0), Orthogonal(-2.0)),
    ],
)
def test_a_factor_below_zero_turns_the_distribution(value: Value, expected: Value) -> None:
    assert scaled(value, -2.0) == expected


def test_nothing_of_everything_is_zero() -> None:
    for value in (
        Normal(1.0, 2.0),
        TruncNormal(0.0, 1.0, -math.inf, math.inf),
        Orthogonal(),
        Uniform(0.0, 1.0),
    ):
        assert scaled(value, 0.0) == Constant(0.0)


def test_the_drawn_tensor_is_multiplied() -> None:
    """Exact for a power of two: the numbers of the stream are the same."""
    rules = (
        dict(type="Normal", std=1),
        dict(type="Uniform", a=-1, b=1),
        dict(type="TruncNormal", std=1, a=-2, b=2),
        dict(type="Orthogonal"),
    )
    for rule in rules:
        whole, half = torch.nn.Linear(16, 8), torch.nn.Linear(16, 8)
        initcfg.init_weights(whole, rule | {"layer": "Linear"}, seed=3)
        initcfg.init_weights(half, rule | {"layer": "Linear", "scale": "1/2"}, seed=3)
        assert torch.equal(half.weight, whole.weight * 0.5), rule


@pytest.mark.parametrize("value", [Keep(), FromCheckpoint("a.pth", "k"), Opaque("code", Keep())])
def test_what_no_value_says_is_an_error(value: Value) -> None:
    with pytest.raises(TensorError, match="cannot be multiplied by a scale"):
        scaled(value, 0.5)


def test_of_other_kinds_the_drawn_tensor_is_multiplied() -> None:
    assert scaled(Dirac(), 0.5, (2, 3, 3)) == Scaled(Dirac(), (0.5, 0.5))
    assert scaled(Scaled(Dirac(), (0.5, 2.0)), 2.0, (2, 3, 3)) == Scaled(Dirac(), (1.0, 4.0))
    assert scaled(Numbers((1.0, 2.0)), 0.5) == Numbers((0.5, 1.0))
    conv = torch.nn.Conv1d(4, 4, 3)
    initcfg.init_weights(conv, dict(type="Dirac", layer="Conv1d", scale="1/4"))
    expected = torch.nn.init.dirac_(torch.empty(4, 4, 3)) / 4
    assert torch.equal(conv.weight, expected)


def test_no_number_leaves_the_floats() -> None:
    with pytest.raises(TensorError, match="beyond what a float can hold"):
        scaled(Normal(0.0, 1e200), 1e200)
