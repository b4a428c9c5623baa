"""The maps from words to numbers: their distributions, and the functions of float64 behind them."""

from __future__ import annotations

import math
from typing import Any

import mpmath  # comes with torch
import numpy as np
import pytest
from scipy import special, stats

from initcfg._stream.bits import (
    bits,
    gauss,
    normal,
    stream_key,
    trunc_normal,
    uniform,
)

KEY = stream_key(42, "weight")
MANY = 1_000_000


# -- quality -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_distribution(dtype: Any) -> None:
    numbers = uniform(KEY, 0, MANY, -0.5, 2.0, dtype=dtype).astype(np.float64)
    assert stats.kstest(numbers, stats.uniform(-0.5, 2.5).cdf).pvalue > 1e-3
    assert abs(numbers.mean() - 0.75) < 4 * 2.5 / math.sqrt(12 * MANY)
    assert abs(numbers.var() / (2.5**2 / 12) - 1) < 0.005
    assert numbers.min() >= -0.5
    assert numbers.max() <= 2.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_distribution(dtype: Any) -> None:
    numbers = normal(KEY, 0, MANY, 0.0, 1.0, dtype=dtype).astype(np.float64)
    assert stats.kstest(numbers, "norm").pvalue > 1e-3
    assert abs(numbers.mean()) < 4 / math.sqrt(MANY)
    assert abs(numbers.var() - 1) < 4 * math.sqrt(2 / MANY)
    assert abs(stats.skew(numbers)) < 4 * math.sqrt(6 / MANY)
    assert abs(stats.kurtosis(numbers)) < 4 * math.sqrt(24 / MANY)
    neighbours = np.corrcoef(numbers[:-1], numbers[1:])[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(MANY)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -2.0, 2.0),
        (0.1, 0.02, 0.09, 0.15),
        (0.0, 1.0, 3.0, 9.0),
        (0.0, 1.0, 5.5, 5.75),
        (0.0, 1.0, 7.0, 30.0),
        (0.0, 1.0, -40.0, -39.0),
        (0.0, 1.0, -0.001, 0.002),
        (3.0, 0.5, -1e9, 1.0),
        (0.0, 1.0, -math.inf, 0.5),
        (0.1, 0.02, 0.1, math.inf),
        (0.0, 1.0, 3.5, math.inf),
        (0.0, 1.0, -math.inf, -30.0),
        (1.0, 2.0, -math.inf, math.inf),
    ],
)
def test_truncated_normal_distribution(mean: float, std: float, a: float, b: float, dtype: Any) -> None:
    count = MANY // 10
    numbers = trunc_normal(KEY, 0, count, mean, std, a, b, dtype=dtype).astype(np.float64)
    assert numbers.min() >= a
    assert numbers.max() <= b
    exact = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    probability = exact.cdf(numbers)
    assert stats.kstest(probability, "uniform").pvalue > 1e-3
    assert abs(numbers.mean() - exact.mean()) < 4 * exact.std() / math.sqrt(count)


def test_single_normal_is_near_the_exact_inverse() -> None:
    probability = (bits(KEY, 0, MANY).astype(np.float64) + 0.5) * 2.0**-32
    numbers = normal(KEY, 0, MANY, 0.0, 1.0).astype(np.float64)
    assert np.abs(numbers - special.ndtri(probability)).max() < 1.7e-6


def test_double_normal_is_the_exact_inverse() -> None:
    count = 100_000
    words = bits(KEY, 0, 2 * count).astype(np.uint64)
    whole = ((words[1::2] << np.uint64(32)) | words[::2]) >> np.uint64(12)
    expected = special.ndtri((whole.astype(np.float64) + 0.5) * 2.0**-52)
    numbers = normal(KEY, 0, count, 0.0, 1.0, dtype=np.float64)
    np.testing.assert_allclose(numbers, expected, rtol=1e-13, atol=1e-15)


def _words_to_normal(words: list[int]) -> np.ndarray:
    from initcfg._stream.bits.reference import _standard_normal

    return _standard_normal(np.array(words, dtype=np.uint32))


def test_single_normal_is_symmetric_and_bounded() -> None:
    words = [0, 1, 2, 77, 12345, 2**20 + 3, 2**30, 2**31 - 1]
    lower = _words_to_normal(words)
    upper = _words_to_normal([2**32 - 1 - word for word in words])
    assert (lower == -upper).all()
    assert lower[0] == lower.min()
    assert 6.3 < float(upper[0]) < 6.34
    numbers = normal(KEY, 0, MANY, 0.0, 1.0)
    assert abs(int((numbers > 0).sum()) - MANY // 2) < 2 * math.sqrt(MANY)


# -- float64 functions ---------------------------------------------------------------------------


def test_normal_cdf() -> None:
    """Against mpmath in the far tail, where SciPy's is good to 2e-13 only."""
    with mpmath.workdps(30):
        for point in np.linspace(-37.0, 9.0, 921).tolist():
            assert abs(gauss.normal_cdf(point) / float(mpmath.ncdf(point)) - 1) < 2e-15
    points = np.linspace(-10.0, 9.0, 1901)
    ours = [gauss.normal_cdf(point) for point in points.tolist()]
    np.testing.assert_allclose(ours, special.ndtr(points), rtol=3e-14, atol=0)
    assert abs(gauss.normal_cdf(0.0) - 0.5) <= 2.0**-53
    assert gauss.normal_cdf(-1e6) == 0.0
    assert gauss.normal_cdf(1e6) == 1.0


def test_mills_exp_and_log_against_scipy() -> None:
    points = np.concatenate([np.linspace(0.0, 60.0, 6001), [1e3, 1e8, 1e100]])
    expected = math.sqrt(math.pi / 2) * special.erfcx(points / math.sqrt(2.0))
    np.testing.assert_allclose(gauss.mills(points), expected, rtol=3e-15)
    exponents = np.linspace(-700.0, 0.0, 7001)
    np.testing.assert_allclose([gauss.exp(float(x)) for x in exponents], np.exp(exponents), rtol=1e-15)
    assert gauss.exp(-800.0) == 0.0
    shares = np.concatenate([np.linspace(1e-16, 1.0, 10_000), 10.0 ** np.linspace(-300, 0, 1000)])
    np.testing.assert_allclose(gauss.log(shares), np.log(shares), rtol=2e-15)


@pytest.mark.parametrize("start", [0.0, 0.3, 1.0, 4.0, 12.0])
def test_into_tail_against_scipy(start: float) -> None:
    share = np.concatenate([10.0 ** np.linspace(-16, -0.001, 500), np.linspace(0.01, 0.99, 99)])
    expected = -special.ndtri_exp(special.log_ndtr(-start) + np.log(share))
    np.testing.assert_allclose(start + gauss.into_tail(start, share), expected, rtol=1e-12)
    assert gauss.into_tail(start, np.ones(1))[0] == 0.0
