"""Values that are made whole: against torch.nn.init, against their laws, and against slices of themselves."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from initcfg import errors
from initcfg._stream import bits
from initcfg._stream.writing import orthogonal
from initcfg._stream.writing.whole_values import block, whole, whole_torch, zeros_of
from initcfg.values import (
    Constant,
    Dirac,
    Eye,
    FromCheckpoint,
    Keep,
    Normal,
    Opaque,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
)
from initcfg.values.kinds import from_json, to_json

SHAPES = [(5, 5), (1, 1), (1, 7), (7, 1), (3, 8), (8, 3), (40, 70), (70, 33), (4, 3, 3, 3), (64, 3, 1, 1)]


def key_of(draw: int) -> int:
    return bits.stream_key(3, "weight", 0, draw)


def gram(matrix: np.ndarray) -> np.ndarray:
    """Products of the rows or columns, whichever are fewer, in float64."""
    flat = matrix.reshape(matrix.shape[0], -1).astype(np.float64)
    return flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat


def torch_orthogonal(shape: tuple[int, ...], gain: float, dtype: Any, monkeypatch: Any) -> torch.Tensor:
    """What torch makes of the same Gaussian."""
    numbers = torch.from_numpy(bits.normal(key_of(0), 0, math.prod(shape), 0.0, 1.0, dtype=dtype))
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "normal_", lambda self, *_, **__: self.copy_(numbers.view(self.shape)))
        return nn.init.orthogonal_(torch.empty(shape, dtype=numbers.dtype), gain)


# -- orthogonal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 1.4, -2.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_orthogonal_is_orthogonal(shape: tuple[int, ...], gain: float, dtype: Any, error: float) -> None:
    made = whole(Orthogonal(gain), shape, key_of, dtype)
    assert made.shape == shape
    assert made.dtype == dtype
    products = gram(made)
    np.testing.assert_allclose(products, gain**2 * np.eye(len(products)), rtol=0, atol=error * gain**2)


@pytest.mark.parametrize("shape", [(333, 333), (500, 90), (90, 500)])
def test_large_orthogonal_matrices(shape: tuple[int, ...]) -> None:
    """Many panels; square ones end in columns of which little is left."""
    single, double = (gram(whole(Orthogonal(1.0), shape, key_of, each)) for each in (np.float32, np.float64))
    assert np.abs(single - np.eye(len(single))).max() < 1e-7
    assert np.abs(double - np.eye(len(double))).max() < 5e-15


@pytest.mark.parametrize("shape", [*SHAPES, (200, 200), (300, 64), (5000, 3)])
def test_orthogonal_is_torchs_of_the_same_gaussian(shape: tuple[int, ...], monkeypatch: Any) -> None:
    single = torch_orthogonal(shape, 1.3, np.float32, monkeypatch)
    np.testing.assert_allclose(whole(Orthogonal(1.3), shape, key_of), single, rtol=0, atol=1e-6)
    double = torch_orthogonal(shape, 1.3, np.float64, monkeypatch)
    np.testing.assert_allclose(whole(Orthogonal(1.3), shape, key_of, np.float64), double, rtol=0, atol=1e-12)


def test_orthogonal_entries_follow_haar() -> None:
    """In n dimensions, each entry of a Haar matrix has (1 + q) / 2 ~ Beta((n - 1) / 2, (n - 1) / 2)."""
    count, n = 2000, 5
    stack = whole(Orthogonal(1.0, (1,), (0,)), (count, n, n), key_of)
    law = stats.beta((n - 1) / 2, (n - 1) / 2)
    for row, column in [(0, 0), (n - 1, n - 1), (0, n - 1), (2, 1)]:
        assert stats.kstest((1 + stack[:, row, column]) / 2, law.cdf).pvalue > 1e-3
    # The determinant has either sign alike, which a diagonal of R without a rule would not give.
    positive = (np.linalg.det(stack.astype(np.float64)) > 0).sum()
    assert stats.binomtest(int(positive), count).pvalue > 1e-3
    assert abs(stack.mean()) < 4 / math.sqrt(stack.size * n)
    np.testing.assert_allclose(stack.astype(np.float64).var(), 1 / n, rtol=1e-3)


def test_orthogonal_signs_follow_the_gaussian() -> None:
    """Q of -A is -Q, and a column's length does not matter."""
    gaussian = bits.normal(key_of(0), 0, 60, 0.0, 1.0, dtype=np.float64).reshape(10, 6)
    made = orthogonal.orthogonal(gaussian, 1.0)
    assert (orthogonal.orthogonal(-gaussian, 1.0) == -made).all()
    assert (orthogonal.orthogonal(gaussian * 2.0 ** np.arange(6), 1.0) - made < 1e-14).all()
    assert (np.diagonal(made.T @ gaussian) > 0).all()


def test_each_matrix_of_a_stack_is_orthogonal_on_its_own() -> None:
    shape = (3, 4, 6)
    made = whole(Orthogonal(2.0, (2,), (0,)), shape, key_of)
    numbers = bits.normal(key_of(0), 0, 72, 0.0, 1.0).reshape(shape)
    for expert, gaussian in zip(made, numbers, strict=True):
        assert (expert == orthogonal.orthogonal(gaussian.T, 2.0).T).all()
        np.testing.assert_allclose(expert @ expert.T, 4 * np.eye(4), atol=1e-6)
    behind = whole(Orthogonal(1.0, (0,), (2,)), shape, key_of)
    for index in range(6):
        assert (behind[:, :, index] == orthogonal.orthogonal(numbers[:, :, index], 1.0)).all()


def test_rows_may_be_any_axes() -> None:
    made = whole(Orthogonal(1.0, (1, 3)), (2, 3, 5, 4), key_of)
    np.testing.assert_allclose(gram(made.transpose(1, 3, 0, 2).reshape(12, 10)), np.eye(10), atol=1e-6)


@pytest.mark.parametrize(
    ("value", "shape"), [(Orthogonal(1.0), (0, 4)), (Orthogonal(1.0), (4, 0)), (Eye(1.0), (0, 3))]
)
def test_empty_tensors(value: Value, shape: tuple[int, ...]) -> None:
    assert whole(value, shape, key_of).shape == shape
    tensor = torch.empty(shape)
    before = torch.get_rng_state()
    whole_torch(tensor, value)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_zero_has_the_sign_plus() -> None:
    assert orthogonal.orthogonal(np.zeros((1, 1)), 1.0).tolist() == [[1.0]]


# -- orthogonal: the same bits everywhere ---------------------------------------------------------

DIGESTS = """
import hashlib, json
import numpy as np
from initcfg._stream.bits import stream_key
from initcfg._stream.writing.whole_values import whole
from initcfg.values import Orthogonal

found = {}
for shape, dtype in [((130, 130), "f4"), ((130, 130), "f8"), ((65, 300), "f4"), ((5000, 40), "f4")]:
    made = whole(Orthogonal(1.5), shape, lambda draw: stream_key(0, "weight", 0, draw), dtype)
    data = np.ascontiguousarray(made).astype("<" + dtype).tobytes()
    found[f"{shape} {dtype}"] = hashlib.sha256(data).hexdigest()[:16]
print(json.dumps(found))
"""
EXPECTED = {
    "(130, 130) f4": "582314ad91605bde",
    "(130, 130) f8": "d4e35e0cbd58d4ee",
    "(65, 300) f4": "cdb91340bd8339b2",
    "(5000, 40) f4": "4bf69d0502d58430",
}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENBLAS_NUM_THREADS": "1"},
        # Two other families of kernels, without fused multiply-add; other BLAS builds ignore this.
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_CORETYPE": "Sandybridge", "OPENBLAS_NUM_THREADS": "2"},
    ],
)
def test_orthogonal_has_the_same_bits_everywhere(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == EXPECTED


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_of_the_matrix_product_does_not_matter(monkeypatch: Any, dtype: Any) -> None:
    """The terms of each product, added in another order, one by one, with a fused or unfused machine."""
    expected = whole(Orthogonal(1.0), (90, 80), key_of, dtype)

    class Shuffled(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            left, right = np.asarray(self), np.asarray(other)
            order = np.random.default_rng(0).permutation(left.shape[1])
            total = np.zeros((left.shape[0], right.shape[1]))
            for index in order:
                total += np.multiply.outer(left[:, index], right[index])
            calls.append(left.shape)
            return total

    calls: list[Any] = []
    original = orthogonal._product

    def product(left: Any, right: Any) -> Any:
        return original([each.view(Shuffled) for each in left], right)

    monkeypatch.setattr(orthogonal, "_product", product)
    assert (whole(Orthogonal(1.0), (90, 80), key_of, dtype) == expected).all()
    assert calls


def test_the_products_are_exact() -> None:
    """Against Python's whole numbers: 20-bit numbers, more of them than one piece holds."""
    random = np.random.default_rng(1)
    left = [random.integers(-(2**20), 2**20, (2, 9000)).astype(np.float64) for _ in range(2)]
    right = [random.integers(-(2**20), 2**20, (9000, 2)).astype(np.float64) for _ in range(2)]
    (a0, a1), (b0, b1) = ([each.astype(int).astype(object) for each in side] for side in (left, right))
    exact = a0 @ b0 * 2**20 + a0 @ b1 + a1 @ b0
    made = orthogonal._product(left, right) * 2.0**20
    assert all(abs(int(x) - y) <= abs(y) * 2.0**-50 for x, y in zip(made.flat, exact.flat, strict=True))


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


# -- as data -------------------------------------------------------------------------------------


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
    ],
)
def test_json_round_trip(value: Value) -> None:
    assert from_json(json.loads(json.dumps(to_json(value)))) == value
    assert hash(from_json(to_json(value))) == hash(value)


def test_which_values_can_be_made_by_blocks() -> None:
    by_blocks = [Constant(1.0), Uniform(0, 1), Normal(0, 1), TruncNormal(0, 1, -2, 2), Keep()]
    by_blocks += [FromCheckpoint("file", "key"), Sparse(0.5, 1.0), Dirac(1), Eye(1.0)]
    by_blocks += [Parts(0, (1, 1), (Eye(1.0), Normal(0, 1))), PaddingRow(0, Normal(0, 1))]
    assert all(value.blockwise for value in by_blocks)
    whole_only = [Orthogonal(1.0), Opaque("f", Keep()), PaddingRow(0, Orthogonal(1.0))]
    whole_only += [Parts(0, (1, 1), (Orthogonal(1.0), Normal(0, 1)))]
    assert not any(value.blockwise for value in whole_only)


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
