"""The numbers of a tensor in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from initcfg._apply import wide
from initcfg.values import number_to_json


@dataclass(frozen=True)
class Statistics:
    """What the numbers of a tensor are like.

    Attributes:
        min: The smallest of those that are finite; None if there is none, or they are complex.
        max: The largest.
        mean: Their mean; None if there is none, or they are complex.
        std: Their standard deviation, of all of them (divided by n); None if there is none.
        zeros: How many are zero.
        nan: How many are NaN.
        inf: How many are infinite.
    """

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    zeros: int = 0
    nan: int = 0
    inf: int = 0

    def to_json(self) -> dict[str, Any]:
        """The statistics as JSON data."""
        return {name: number_to_json(value) for name, value in asdict(self).items()}


def statistics(pieces: Iterable[torch.Tensor]) -> Statistics:
    """The statistics of a tensor that comes in pieces; computed in float64.

    Example:
        >>> import torch
        >>> from initcfg._api.weights.statistics import statistics
        >>> found = statistics([torch.tensor([0.0, 3.0]), torch.tensor([float("nan"), -3.0])])
        >>> found.min, found.max, found.mean, round(found.std, 3), found.zeros, found.nan
        (-3.0, 3.0, 0.0, 2.449, 1, 1)
    """
    running = _Running()
    for piece in pieces:
        running.add(piece.detach())
    return running.result()


class _Running:
    """Count, mean and spread so far, of numbers in pieces."""

    def __init__(self) -> None:
        self.count = self.zeros = self.nan = self.inf = 0
        self.mean: complex = 0.0
        self.spread = 0.0
        self.least: float | None = None
        self.most: float | None = None
        self.complex = False

    def add(self, piece: torch.Tensor) -> None:
        numbers = wide(piece)
        self.complex = numbers.is_complex()
        self.zeros += int((numbers == 0).sum())
        nan = int(numbers.isnan().sum())
        finite = numbers[numbers.isfinite()]
        self.nan += nan
        self.inf += numbers.numel() - finite.numel() - nan
        if not finite.numel():
            return
        if not self.complex:
            # Whole numbers are told exactly, though float64 may not hold them.
            whole = not (piece.is_floating_point() or piece.dtype == torch.bool)
            ends = piece.tolist() if whole and piece.dtype in _SLOW else None
            low, high = (
                (min(ends), max(ends))
                if ends
                else map(torch.Tensor.item, (piece if whole else finite).aminmax())
            )
            self.least = low if self.least is None else min(self.least, low)
            self.most = high if self.most is None else max(self.most, high)
        self._join(finite)

    def _join(self, finite: torch.Tensor) -> None:
        """Chan's sum of two spreads, which loses nothing to a mean that is far from zero."""
        count, mean = finite.numel(), finite.mean()
        spread = float((finite - mean).abs().square().sum())
        total = self.count + count
        apart = mean.item() - self.mean
        self.spread += spread + abs(apart) ** 2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total

    def result(self) -> Statistics:
        counts = {"zeros": self.zeros, "nan": self.nan, "inf": self.inf}
        if not self.count:
            return Statistics(**counts)
        std = math.sqrt(self.spread / self.count)
        mean = None if self.complex else float(self.mean.real)
        return Statistics(self.least, self.most, mean, std if math.isfinite(std) else None, **counts)


# torch finds no minimum of these.
_SLOW = (torch.uint16, torch.uint32, torch.uint64)
