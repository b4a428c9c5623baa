"""Orthogonal values: against torch.nn.init, against their law, and the same bits everywhere."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from initcfg._stream import bits
from initcfg._stream.bits import kernel
from initcfg._stream.writing import orthogonal
from initcfg._stream.writing.whole_values import block, whole, whole_torch
from initcfg.errors import ApplyError
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
    "(130, 130) f4": "edb44c18c988a95a",
    "(130, 130) f8": "28c7e530e98942ec",
    "(65, 300) f4": "4ba62b7588a96a5e",
    "(5000, 40) f4": "981c0cddd1d1a4b5",
}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENBLAS_NUM_THREADS": "1"},
        {"INITCFG_KERNEL": "0"},
        {"INITCFG_THREADS": "3"},
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


def made_by(matrix: np.ndarray, threads: int, path: str) -> np.ndarray:
    made = matrix.copy(order="K")
    kernel.orthogonalize([made], 1.3, threads, path=path)
    return made


ODD = [
    (1, 1),
    (2, 1),
    (7, 1),
    (2, 2),
    (5, 5),
    (9, 8),
    (47, 47),
    (48, 48),
    (49, 49),
    (50, 3),
    (97, 96),
    (320, 300),
]
needs_kernel = pytest.mark.skipif(not kernel.available(), reason="needs the kernel")


@needs_kernel
@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_has_the_bits_of_numpy(shape: tuple[int, int], dtype: Any) -> None:
    """By every instruction set, number of threads and order in memory."""
    gaussian = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = gaussian.copy()
    orthogonal.by_numpy(expected, 1.3)
    for path in kernel.paths():
        for threads in (1, 2, 3):
            for order in ("C", "F"):
                made = made_by(np.array(gaussian, order=order), threads, path)
                assert np.ascontiguousarray(made).tobytes() == expected.tobytes()


@needs_kernel
def test_many_matrices_at_once_have_the_bits_of_each() -> None:
    stack = np.random.default_rng(0).standard_normal((40, 60, 50)).astype(np.float32)
    expected = np.array([made_by(each, 1, "plain") for each in stack])
    kernel.orthogonalize(list(stack), 1.3, 3)
    assert (stack == expected).all()


@needs_kernel
@pytest.mark.parametrize("special", [0.0, -0.0, 1e-320])
def test_matrices_of_low_rank_have_the_same_bits_too(special: float) -> None:
    """Of nothing, signs are told apart as well: zeros, and numbers too small to be normal."""
    matrix = np.full((60, 52), special)
    matrix[3:20, 7] = -2.0
    expected = matrix.copy()
    orthogonal.by_numpy(expected, 1.3)
    assert all(made_by(matrix, 2, path).tobytes() == expected.tobytes() for path in kernel.paths())


@needs_kernel
def test_the_kernel_refuses_what_is_no_such_matrix() -> None:
    for matrix in (np.ones((2, 3)), np.ones((3, 2), dtype=np.float16), np.broadcast_to(1.0, (3, 2))):
        with pytest.raises(ApplyError, match="makes no columns of"):
            kernel.orthogonalize([matrix], 1.0, 1)
    unaligned = np.frombuffer(bytearray(33), dtype=np.uint8)[1:].view(np.float64).reshape(2, 2)
    with pytest.raises(ApplyError, match="not aligned"):
        kernel.orthogonalize([unaligned], 1.0, 1)
    with pytest.raises(ApplyError, match="number of threads"):
        kernel.orthogonalize([np.ones((2, 2))], 1.0, 0)


def test_the_error_is_below_torchs(monkeypatch: Any) -> None:
    ours = gram(whole(Orthogonal(1.0), (400, 400), key_of))
    theirs = gram(torch_orthogonal((400, 400), 1.0, np.float32, monkeypatch).numpy())
    assert 5 * np.abs(ours - np.eye(400)).max() < np.abs(theirs - np.eye(400)).max()


def test_traces_follow_haar() -> None:
    """Traces of Q and Q² have the orthogonal group's moments: 0 and 1, 1 and 2 (Diaconis, Shahshahani)."""
    count, n = 4000, 12
    stack = whole(Orthogonal(1.0, (1,), (0,)), (count, n, n), key_of).astype(np.float64)
    first, second = np.trace(stack, axis1=1, axis2=2), np.trace(stack @ stack, axis1=1, axis2=2)
    assert abs(first.mean()) < 4 / math.sqrt(count)
    assert abs(first.var() - 1) < 4 * math.sqrt(2 / count)
    assert abs(second.mean() - 1) < 4 * math.sqrt(2 / count)
    assert abs(second.var() - 2) < 4 * 2 * math.sqrt(2 / count)
    assert stats.kstest(first, "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    "value", [Orthogonal(1.5), Orthogonal(1.5, (1,), (0,)), Orthogonal(1.5, (0, 2), (3,))]
)
def test_a_block_is_a_part_of_the_whole(value: Orthogonal) -> None:
    shape = (6, 5, 4, 7)
    made = whole(value, shape, key_of)
    for offsets, sizes in [
        ((0, 0, 0, 0), (3, 5, 4, 7)),
        ((2, 0, 0, 0), (1, 5, 4, 7)),
        ((1, 2, 0, 3), (4, 3, 4, 2)),
    ]:
        inside = tuple(slice(at, at + size) for at, size in zip(offsets, sizes, strict=True))
        assert (block(value, shape, offsets, sizes, key_of) == made[inside]).all()


KNOWN = [
    *("0x1.1f1b04711ed96p-1", "0x1.0c27929849cf0p-1", "-0x1.c7f825fe59e74p-3"),
    *("-0x1.4d1d95c7e489ep-1", "0x1.9850552dad0f4p-1", "-0x1.198d22a5328d3p-1"),
]


def test_the_numbers_are_known() -> None:
    made = whole(Orthogonal(1.0), (3, 2), key_of, np.float64)
    assert [number.hex() for number in made.ravel().tolist()] == KNOWN


# -- orthogonal: parts of a matrix, by some of the ranks --------------------------------------------


@pytest.mark.parametrize("shape", [(9, 8), (97, 97), (130, 120)])
@pytest.mark.parametrize("switch", ["1", "0"])
def test_columns_alone_have_their_bits(shape: tuple[int, int], switch: str, monkeypatch: Any) -> None:
    """From any column to any, by the kernel and by NumPy."""
    monkeypatch.setenv("INITCFG_KERNEL", switch)
    gaussian = np.random.default_rng(0).standard_normal(shape)
    expected = gaussian.copy()
    orthogonal.by_numpy(expected, 1.3)
    for first, last in [(0, 1), (0, 8), (7, 8), (5, shape[1]), (shape[1] - 1, shape[1]), (48, 60), (49, 96)]:
        if first < last <= shape[1]:
            made = gaussian.copy()
            orthogonal.orthogonalize_columns([made[:, :last]], [1.3], [first], 2)
            assert (made[:, first:last] == expected[:, first:last]).all()


def made_among(gaussian: np.ndarray, ranks: int, threads: int) -> list[np.ndarray]:
    """What each of several ranks makes, which are threads here and pass each other their panels."""
    sent: dict[str, np.ndarray] = {}
    made, barrier = [gaussian.copy() for _ in range(ranks)], Barrier(ranks)

    def work(rank: int) -> None:
        def exchange(numbers: np.ndarray, root: int) -> None:
            if rank == root:
                sent["numbers"] = numbers.copy()
            barrier.wait(30)
            numbers[...] = sent["numbers"]
            barrier.wait(30)

        kernel.orthogonalize_among(made[rank], 1.3, threads, rank, ranks, exchange)

    with ThreadPoolExecutor(ranks) as pool:
        list(pool.map(work, range(ranks)))
    return made


@needs_kernel
@pytest.mark.parametrize("shape", [(1, 1), (40, 40), (97, 96), (340, 300)])
@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (2, 1), (3, 2), (9, 1)])
def test_panels_of_ranks_have_the_bits_of_one(shape: tuple[int, int], ranks: int, threads: int) -> None:
    gaussian = np.random.default_rng(0).standard_normal(shape)
    expected = gaussian.copy()
    orthogonal.by_numpy(expected, 1.3)
    made = made_among(gaussian, ranks, threads)
    for number, first in enumerate(range(0, shape[1], 48)):
        panel = slice(first, first + 48)
        assert (made[number % ranks][:, panel] == expected[:, panel]).all()


@needs_kernel
@pytest.mark.parametrize("when", [0, 1, 4, 20])
def test_an_exchange_that_fails_ends_the_work(when: int) -> None:
    """With the error of the exchange itself, whichever step it was."""
    calls = itertools.count()

    def exchange(numbers: np.ndarray, root: int) -> None:
        if next(calls) == when:
            raise KeyError("the network")

    with pytest.raises(KeyError, match="the network"):
        kernel.orthogonalize_among(np.ones((500, 400)), 1.0, 2, 0, 2, exchange)
    assert next(calls) == when + 1
