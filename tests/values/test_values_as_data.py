"""Values as data: they go through JSON, and say whether they can be made by blocks."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Sparse,
    TruncNormal,
    Uniform,
    Value,
    from_json,
    shape_problem,
    to_json,
)


@pytest.mark.parametrize(
    "value",
    [
        Orthogonal(math.sqrt(2)),
        Orthogonal(0.1, (1, 2), (0,)),
        Sparse(0.9, 0.01),
        Dirac(3),
        Eye(0.5),
        Parts(0, (2, 2), (Orthogonal(1.0), Eye(1.0))),
        PaddingRow(1, Sparse(0.5, 1.0)),
        Repeat(0, 4, Hadamard(0.5)),
    ],
)
def test_json_round_trip(value: Value) -> None:
    assert from_json(json.loads(json.dumps(to_json(value)))) == value
    assert hash(from_json(to_json(value))) == hash(value)


def test_which_values_can_be_made_by_blocks() -> None:
    by_blocks = [Constant(1.0), Uniform(0, 1), Normal(0, 1), TruncNormal(0, 1, -2, 2), Keep()]
    by_blocks += [FromCheckpoint("file", "key"), Sparse(0.5, 1.0), Dirac(1), Eye(1.0)]
    by_blocks += [Parts(0, (1, 1), (Eye(1.0), Normal(0, 1))), PaddingRow(0, Normal(0, 1))]
    by_blocks += [Hadamard(1.0), Repeat(0, 2, Normal(0, 1))]
    assert all(value.blockwise for value in by_blocks)
    whole_only = [Orthogonal(1.0), Opaque("f", Keep()), PaddingRow(0, Orthogonal(1.0))]
    whole_only += [Repeat(0, 2, Orthogonal(1.0))]
    whole_only += [Parts(0, (1, 1), (Orthogonal(1.0), Normal(0, 1)))]
    assert not any(value.blockwise for value in whole_only)


def test_an_orthogonal_value_says_by_which_algorithm_it_is_made() -> None:
    """In JSON, and so in plans and ledgers; of another, nothing is made, and it can be read and told."""
    assert to_json(Orthogonal(2.0))["algorithm"] == 2
    other = from_json({**to_json(Orthogonal(2.0)), "algorithm": 1})
    assert other != Orthogonal(2.0)
    assert str(other) == "Orthogonal(gain=2, algorithm=1)"
    assert shape_problem(other, (3, 3)) == "it is of algorithm 1, and this package knows 2"
    assert shape_problem(Orthogonal(2.0), (3, 3)) is None


NUMBERS = st.floats() | st.sampled_from([0, 0.0, -0.0, 1, 1.0, math.nan, -math.nan, math.inf])


@given(NUMBERS, NUMBERS)
def test_equal_values_write_the_same_bits(one: float, other: float) -> None:
    same = struct.pack("<d", one) == struct.pack("<d", other)
    assert (Constant(one) == Constant(other)) is same
    assert (Constant(one) != Constant(other)) is not same
    assert (Numbers((one, 1.0)) == Numbers((other, 1.0))) is same
    assert len({Constant(one), Constant(other)}) == (1 if same else 2)
