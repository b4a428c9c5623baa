"""Values that are made whole: against torch.nn.init, against their laws, and against slices of themselves."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import hadamard
from torch import nn

from initcfg import errors
from initcfg._stream import bits
from initcfg._stream.writing.whole_values import block, whole, whole_torch, zeros_of
from initcfg.values import (
    Dirac,
    Eye,
    Hadamard,
    Normal,
    Orthogonal,
    Sparse,
    Value,
)


def key_of(draw: int) -> int:
    return bits.stream_key(3, "weight", 0, draw)


# -- sparse --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.35, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(1, 5), (10, 4), (37, 11)])
def test_each_column_has_its_zeros(shape: tuple[int, int], sparsity: float) -> None:
    made = whole(Sparse(sparsity, 0.5), shape, key_of)
    theirs = nn.init.sparse_(torch.empty(shape), sparsity, 0.5)
    assert ((made == 0).sum(0) == (theirs == 0).sum(0).numpy()).all()
    normal = bits.normal(key_of(0), 0, made.size, 0.0, 0.5).reshape(shape)
    assert (made == np.where(made == 0, 0, normal)).all()


def test_the_smallest_pairs_of_word_and_row_are_zero() -> None:
    rows, columns, count = 9, 5, 4
    words = bits.bits(key_of(1), 0, rows * columns).tolist()
    found = zeros_of(Sparse(0.4, 1.0), (rows, columns), (0, 0), (rows, columns), key_of(1))
    for column in range(columns):
        pairs = sorted((words[column * rows + row], row) for row in range(rows))
        assert set(np.flatnonzero(found[:, column])) == {row for _, row in pairs[:count]}


def test_equal_words_fall_to_the_first_rows(monkeypatch: Any) -> None:
    monkeypatch.setattr(bits, "bits", lambda key, start, count: np.zeros(count, np.uint32))
    found = zeros_of(Sparse(0.5, 1.0), (6, 2), (0, 0), (6, 2), 0)
    assert found.T.tolist() == [[True] * 3 + [False] * 3] * 2


def test_every_set_of_rows_is_as_likely() -> None:
    columns = 6000
    found = zeros_of(Sparse(0.5, 1.0), (4, columns), (0, 0), (4, columns), key_of(1))
    counts = [int((found[list(rows)].all(0)).sum()) for rows in itertools.combinations(range(4), 2)]
    assert sum(counts) == columns
    assert stats.chisquare(counts).pvalue > 1e-3


# -- identities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 2, 4, 5), (12, 6, 1, 3), (6, 9, 2, 3, 5), (6, 1, 1, 1, 1)])
def test_dirac_is_torchs(shape: tuple[int, ...], groups: int) -> None:
    theirs = nn.init.dirac_(torch.empty(shape), groups)
    assert (whole(Dirac(groups), shape, key_of) == theirs.numpy()).all()


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (1, 1)])
def test_eye_is_torchs(shape: tuple[int, int]) -> None:
    theirs = nn.init.eye_(torch.empty(shape))
    assert (whole(Eye(1.0), shape, key_of) == theirs.numpy()).all()
    assert (whole(Eye(-0.3), shape, key_of) == (theirs * -0.3).numpy()).all()


def test_hadamard() -> None:
    assert np.array_equal(whole(Hadamard(0.25), (16, 16), key_of), 0.25 * hadamard(16))
    assert np.array_equal(whole(Hadamard(1.0), (11, 5), key_of), hadamard(16)[:11, :5])
    # Far down and far right, where many digits count.
    far = block(Hadamard(1.0), (1 << 20, 1 << 20), ((1 << 20) - 3, (1 << 20) - 2), (3, 2), key_of)
    ends = [[(1 << 20) - 3 + i & (1 << 20) - 2 + j for j in range(2)] for i in range(3)]
    assert far.tolist() == [[(-1.0) ** each.bit_count() for each in row] for row in ends]


# -- blocks --------------------------------------------------------------------------------------

CASES: list[tuple[Value, tuple[int, ...]]] = [
    (Orthogonal(1.3), (7, 9)),
    (Orthogonal(1.0), (6, 2, 3)),
    (Orthogonal(1.0, (2,), (0,)), (4, 3, 5)),
    (Orthogonal(1.0, (0,), (1, 3)), (4, 2, 5, 3)),
    (Sparse(0.4, 0.1), (11, 7)),
    (Dirac(1), (6, 4, 3)),
    (Dirac(2), (6, 4, 3, 2)),
    (Dirac(3), (6, 4, 3, 1, 2)),
    (Eye(2.0), (6, 9)),
    (Eye(1.0), (9, 6)),
    (Hadamard(0.5), (9, 6)),
]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), case=st.sampled_from(CASES), dtype=st.sampled_from([np.float32, np.float64]))
def test_a_block_is_a_slice_of_the_whole(data: Any, case: tuple[Value, tuple[int, ...]], dtype: Any) -> None:
    value, shape = case
    offsets = [data.draw(st.integers(0, size)) for size in shape]
    sizes = [data.draw(st.integers(0, size - start)) for size, start in zip(shape, offsets, strict=True)]
    slices = tuple(slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))
    made = block(value, shape, offsets, sizes, key_of, dtype)
    assert made.dtype == dtype
    assert np.array_equal(made, whole(value, shape, key_of, dtype)[slices])


def test_sparse_blocks_in_pieces(monkeypatch: Any) -> None:
    expected = whole(Sparse(0.4, 0.1), (11, 7), key_of)
    monkeypatch.setattr("initcfg._stream.writing.whole_values._WORDS", 25)
    assert np.array_equal(whole(Sparse(0.4, 0.1), (11, 7), key_of), expected)
    assert np.array_equal(block(Sparse(0.4, 0.1), (11, 7), (3, 1), (5, 6), key_of), expected[3:8, 1:])


@pytest.mark.parametrize(("offsets", "sizes"), [((0, 0), (4, 4)), ((-1, 0), (2, 2)), ((0,), (3,))])
def test_a_block_outside_is_an_error(offsets: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    with pytest.raises(errors.ApplyError, match="is not a block of"):
        block(Eye(1.0), (3, 3), offsets, sizes, key_of)


def test_the_numbers_depend_on_the_key() -> None:
    other = lambda draw: bits.stream_key(4, "weight", 0, draw)  # noqa: E731
    for value in (Orthogonal(1.0), Sparse(0.5, 1.0)):
        here, there = whole(value, (6, 6), key_of), whole(value, (6, 6), other)
        assert np.array_equal(here, whole(value, (6, 6), key_of))
        assert not np.array_equal(here, there)
        assert not np.array_equal(here == 0, there == 0) or isinstance(value, Orthogonal)


# -- torch's generator ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shape", "theirs"),
    [
        (Orthogonal(1.4), (5, 9), lambda tensor: nn.init.orthogonal_(tensor, 1.4)),
        (Orthogonal(1.0), (9, 2, 3, 3), nn.init.orthogonal_),
        (Sparse(0.3, 0.2), (10, 6), lambda tensor: nn.init.sparse_(tensor, 0.3, 0.2)),
        (Dirac(2), (6, 4, 3, 3), lambda tensor: nn.init.dirac_(tensor, 2)),
        (Eye(1.0), (4, 6), nn.init.eye_),
        (Hadamard(2.0), (8, 8), lambda tensor: tensor.copy_(2 * torch.from_numpy(hadamard(8)))),
    ],
)
def test_torchs_generator(value: Value, shape: tuple[int, ...], theirs: Any) -> None:
    torch.manual_seed(5)
    ours, other = torch.empty(shape), torch.empty(shape)
    whole_torch(ours, value)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    theirs(other)
    assert torch.equal(ours, other)
    assert torch.equal(torch.get_rng_state(), after)


def test_torchs_generator_stack_and_half() -> None:
    torch.manual_seed(5)
    ours = torch.empty(3, 4, 6)
    whole_torch(ours, Orthogonal(1.0, (1,), (0,)))
    torch.manual_seed(5)
    for matrix in ours:
        assert torch.equal(matrix, nn.init.orthogonal_(torch.empty(4, 6)))
    torch.manual_seed(5)
    half = torch.empty(4, 6, dtype=torch.bfloat16)
    whole_torch(half, Orthogonal(1.0))
    assert torch.equal(half, ours[0].bfloat16())
    torch.manual_seed(5)
    strided = torch.empty(6, 4).t()
    whole_torch(strided, Orthogonal(1.0))
    assert torch.equal(strided, ours[0])


# -- without meaning -------------------------------------------------------------------------------


def test_values_without_meaning_for_a_shape() -> None:
    for value, shape in [
        (Eye(1.0), (3,)),
        (Orthogonal(1.0, (2,)), (3, 3)),
        (Orthogonal(1.0, (0,), (0,)), (3, 3)),
        (Orthogonal(math.inf), (3, 3)),
        (Sparse(2.0, 1.0), (3, 3)),
        (Dirac(0), (3, 3, 3)),
    ]:
        with pytest.raises(errors.TensorError, match="cannot be made"):
            whole(value, shape, key_of)
        with pytest.raises(errors.TensorError, match="cannot be made"):
            whole_torch(torch.empty(shape), value)
    with pytest.raises(errors.ApplyError, match="Normal is not made whole"):
        whole(Normal(0.0, 1.0), (3, 3), key_of)
