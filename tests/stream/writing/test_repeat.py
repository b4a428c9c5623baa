"""Repeat: each slice of a value, several times in a row; whole, by blocks, and from torch's generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg._stream.writing import Block, fill_stream, fill_torch
from initcfg.errors import PlanError
from initcfg.values import (
    Constant,
    Eye,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Value,
    from_json,
    own_fault,
    shape_problem,
)

CASES: list[tuple[Value, tuple[int, ...]]] = [
    (Repeat(0, 4, Normal(0.0, 1.0)), (12, 5)),
    (Repeat(1, 3, Orthogonal(1.0)), (4, 9, 2)),
    (Repeat(0, 2, Parts(0, (2, 3), (Normal(0.0, 1.0), Eye(2.0)))), (10, 4)),
    (Repeat(0, 2, PaddingRow(1, Normal(0.0, 1.0))), (6, 4)),
    (Repeat(0, 2, Repeat(0, 3, Normal(0.0, 1.0))), (12, 2)),
]


def filled(value: Value, shape: tuple[int, ...]) -> torch.Tensor:
    tensor = torch.empty(shape)
    fill_stream(tensor, value, seed=3, name="weight")
    return tensor


def repeated(value: Repeat, shape: tuple[int, ...]) -> torch.Tensor:
    """What it is, said otherwise."""
    inner = list(shape)
    inner[value.dim] //= value.times
    return filled(value.value, tuple(inner)).repeat_interleave(value.times, value.dim)


@pytest.mark.parametrize(("value", "shape"), CASES)
def test_each_slice_several_times(value: Repeat, shape: tuple[int, ...]) -> None:
    assert torch.equal(filled(value, shape), repeated(value, shape))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), case=st.sampled_from(CASES))
def test_a_block_is_a_slice_of_the_whole(data: Any, case: tuple[Value, tuple[int, ...]]) -> None:
    value, shape = case
    offsets = [data.draw(st.integers(0, size)) for size in shape]
    sizes = [data.draw(st.integers(0, size - start)) for size, start in zip(shape, offsets, strict=True)]
    made = torch.full(sizes, 7.0)
    fill_stream(made, value, seed=3, name="weight", block=Block(shape, tuple(offsets)))
    slices = tuple(slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))
    assert torch.equal(made, filled(value, shape)[slices])


def test_torchs_generator() -> None:
    torch.manual_seed(5)
    ours = torch.empty(12, 5)
    fill_torch(ours, Repeat(0, 4, Normal(0.0, 2.0)))
    torch.manual_seed(5)
    assert torch.equal(ours, torch.empty(3, 5).normal_(0.0, 2.0).repeat_interleave(4, 0))


def test_faults() -> None:
    for value, shape, said in [
        (Repeat(0, 4, Constant(1.0)), (6, 3), "the 6 along dimension 0 are not each 4 times"),
        (Repeat(2, 4, Constant(1.0)), (6, 3), "a tensor of 2 dimensions has no dimension 2"),
        (Repeat(0, 2, Eye(1.0)), (6,), "it is for matrices, and this tensor has 1 dimension"),
    ]:
        assert shape_problem(value, shape) == said
    assert own_fault(Repeat(0, 0, Constant(1.0))) == (
        ("times",),
        "it is 0, and each slice is there once or more",
    )
    assert own_fault(Repeat(-1, 2, Constant(1.0))) == (("dim",), "there is no dimension -1")
    with pytest.raises(PlanError):
        from_json({"kind": "Repeat", "dim": 0, "times": 2})
