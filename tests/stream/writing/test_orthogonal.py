"""Orthogonal values: against torch.nn.init, against their law, and the same bits everywhere."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from initcfg._stream import bits
from initcfg._stream.writing import orthogonal
from initcfg._stream.writing.whole_values import whole, whole_torch
from initcfg.values import (
    Eye,
    Orthogonal,
    Value,
)

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
