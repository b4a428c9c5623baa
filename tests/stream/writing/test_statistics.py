"""Ten million numbers of each distribution, at fixed seeds, against scipy and the published moments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.values import Normal, TruncNormal, Uniform, Value

COUNT = 10**7


class Truncated:
    """scipy's truncated normal, with its distribution function by way of the nearer tail: fast and exact."""

    def __init__(self, low: float, high: float, mean: float = 0.0, std: float = 1.0) -> None:
        self._exact = scipy.stats.truncnorm(low, high, loc=mean, scale=std)
        self._low, self._high, self._mean, self._std = low, high, mean, std
        self.mean, self.std, self.expect = self._exact.mean, self._exact.std, self._exact.expect

    def cdf(self, numbers: Any) -> Any:
        above = scipy.special.ndtr(-self._low)
        beyond = scipy.special.ndtr((self._mean - numbers) / self._std)
        return (above - beyond) / (above - scipy.special.ndtr(-self._high))


VALUES: dict[str, tuple[Value, Any]] = {
    "uniform": (Uniform(-0.25, 0.75), scipy.stats.uniform(-0.25, 1.0)),
    "normal": (Normal(0.5, 2.0), scipy.stats.norm(0.5, 2.0)),
    "truncated at 2 sigmas": (TruncNormal(0.0, 1.0, -2.0, 2.0), Truncated(-2.0, 2.0)),
    "truncated aside": (
        TruncNormal(0.1, 0.02, 0.09, 0.15),
        Truncated(-0.5, 2.5, 0.1, 0.02),
    ),
    "far tail": (TruncNormal(0.0, 1.0, 5.0, 7.0), Truncated(5.0, 7.0)),
}


def drawn(value: Value, name: str = "weight", *, seed: int = 2026, count: int = COUNT) -> torch.Tensor:
    tensor = torch.empty(count)
    fill_stream(tensor, value, seed=seed, name=name)
    return tensor


@pytest.mark.parametrize(("value", "exact"), VALUES.values(), ids=VALUES)
def test_distribution(value: Value, exact: Any) -> None:
    numbers = np.sort(drawn(value).numpy().astype(np.float64))
    # Kolmogorov's statistic; its 99.9 % point is 1.95/√n.
    below = exact.cdf(numbers)
    steps = np.arange(COUNT + 1) / COUNT
    distance = max((steps[1:] - below).max(), (below - steps[:-1]).max())
    assert distance * math.sqrt(COUNT) < 1.95


@pytest.mark.parametrize(("value", "exact"), VALUES.values(), ids=VALUES)
def test_moments(value: Value, exact: Any) -> None:
    """Mean and the central moments to the fourth, within four of their own standard errors."""
    mean, std = exact.mean(), exact.std()
    sigmas = (drawn(value).numpy().astype(np.float64) - mean) / std
    for power in (1, 2, 3, 4):
        expected, twice = (
            exact.expect(lambda x, p=p: ((x - mean) / std) ** p, epsabs=1e-13) for p in (power, 2 * power)
        )
        error = math.sqrt((twice - expected**2) / COUNT)
        assert abs((sigmas**power).mean() - expected) < 4 * error, power


def test_tails() -> None:
    """How many lie beyond so many sigmas, on each side, as a Poisson variable."""
    count = 5 * COUNT
    numbers = drawn(Normal(0.0, 1.0), count=count)
    for sigmas in (3.0, 4.0, 4.5, 5.0, 5.5):
        expected = count * scipy.stats.norm.sf(sigmas)
        for beyond in ((numbers > sigmas).sum().item(), (numbers < -sigmas).sum().item()):
            low, high = scipy.stats.poisson.ppf([1e-4, 1 - 1e-4], expected)
            assert low <= beyond <= high, sigmas


def correlated(one: torch.Tensor, other: torch.Tensor) -> float:
    """The correlation in units of its standard error, about N(0, 1) for independent numbers."""
    one, other = one.double(), other.double()
    return float((one * other).mean() / (one.std() * other.std())) * math.sqrt(one.numel())


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 7, 64, 512, 1000, 4096, 65536])
def test_neighbours_and_rows_are_independent(lag: int) -> None:
    """A lag is a neighbour, or the row above in a matrix of that many columns."""
    numbers = drawn(Normal(0.0, 1.0))
    assert abs(correlated(numbers[:-lag], numbers[lag:])) < 4
    assert abs(correlated(numbers[:-lag] ** 2 - 1, numbers[lag:] ** 2 - 1)) < 4


@pytest.mark.parametrize(
    ("one", "other"),
    [("weight", "weights"), ("layers.0.weight", "layers.1.weight"), ("a", "b"), ("a.weight", "a.bias")],
)
def test_names_are_independent(one: str, other: str) -> None:
    assert abs(correlated(drawn(Normal(0.0, 1.0), one), drawn(Normal(0.0, 1.0), other))) < 4


def test_seeds_are_independent() -> None:
    left, right = (drawn(Normal(0.0, 1.0), seed=seed) for seed in (0, 1))
    assert abs(correlated(left, right)) < 4


def test_many_short_tensors() -> None:
    """Each element across 10,000 names, and the names' own means."""
    tensors = torch.empty(10_000, 1000)
    writer = StreamWriter(7)
    for number, tensor in enumerate(tensors):
        writer.add(tensor, Uniform(0.0, 1.0), f"layers.{number}.weight")
    writer.flush()
    # By place within the tensor, and by tensor: sums of uniforms are normal.
    for dim in (0, 1):
        means = tensors.double().mean(dim).numpy()
        sigmas = (means - 0.5) * math.sqrt(12 * tensors.shape[dim])
        assert scipy.stats.kstest(sigmas, "norm").pvalue > 1e-3
    # The first elements of consecutive names, as one sequence.
    first = tensors[:, 0]
    assert scipy.stats.kstest(first.numpy(), "uniform").pvalue > 1e-3
    assert abs(correlated(first[:-1] - 0.5, first[1:] - 0.5)) < 4
