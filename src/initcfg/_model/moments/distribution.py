"""Distributions: what the elements of a tensor are like, as a function of Gaussian numbers at a few nodes.

An element is f(u, s, v): u is what all positions and samples of a channel share, s how large the sample is as
a whole, and v what differs. All are standard normal, and f is known at the nodes of a quadrature. What torch
computes of a tensor element by element, it computes of f at these nodes: so the moments of any activation are
those of the function itself. Tensors that are functions of the same numbers have the same ``source``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from initcfg._model.moments.nodes import (
    GRID,
    OWN,
    OWN_WEIGHTS,
    SHARED,
    SHARED_WEIGHTS,
    SIZE_WEIGHTS,
    binned,
    by_shared,
    by_size,
    coarse,
    mean,
    sizes_after,
)

# Probabilities below the nodes: where the mass of each has its middle.
_BELOW = torch.cumsum(OWN_WEIGHTS, 0) - OWN_WEIGHTS / 2


@dataclass(frozen=True, eq=False)
class Source:
    """Gaussian numbers that tensors are functions of, where they are known: the values at the nodes."""

    values: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Distribution:
    """What elements are like.

    Attributes:
        values: f at the nodes, shape (nodes of u, of s, of v), or what expands to it.
        source: What it is a function of; None for one number.
        masked: Of scores: some are taken out before the softmax.
        squares: Of attention's weights: the mean of the sum of their squares.
        normal: Whether it is Gaussian.
    """

    values: torch.Tensor
    source: Source | None = field(default_factory=Source)
    masked: bool = False
    squares: float | None = None
    normal: bool = False

    @property
    def grid(self) -> torch.Tensor:
        """The values at all nodes."""
        return self.values.double().expand(GRID)

    @property
    def mean(self) -> float:
        """E[x]."""
        return mean(self.grid)

    @property
    def second(self) -> float:
        """E[x²]."""
        return mean(self.grid.square())

    @property
    def common(self) -> float:
        """E[x x'] of two positions of a channel."""
        return float(self.shared.square() @ SHARED_WEIGHTS)

    @property
    def shared(self) -> torch.Tensor:
        """E[x] for each u."""
        return by_shared(self.grid)

    @property
    def energies(self) -> torch.Tensor:
        """E[x²] for each s."""
        return by_size(self.grid.square())

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(max(self.second - self.mean**2, 0.0))

    @property
    def sized(self) -> bool:
        """Whether it depends on how large a sample is."""
        return self.values.dim() == 3 and self.values.shape[1] > 1

    def own(self) -> torch.Tensor:
        """Variance of x for each u."""
        return by_shared((self.grid - self.shared[:, None, None]).square())

    def of_samples(self, statistic: Callable[[torch.Tensor], torch.Tensor]) -> Distribution:
        """What a statistic over the channels of a sample is like; it is given E of what it takes, by s."""
        made = statistic(self.grid)
        return Distribution(made[None, :, None], self.source) if self.sized else constant(float(made[0]))

    def averaged(self, own: float) -> Distribution:
        """What averages of positions are like, where each one's own variance is so much less."""
        spread = (self.own() * min(own, 1.0)).sqrt()
        return Distribution(self.shared[:, None, None] + spread[:, None, None] * OWN)

    def mixed(self, squares: float, overlap: float) -> Distribution:
        """What attention makes of it: averages that positions have in part in common.

        Of the weights of a position, the squares sum up to ``squares``; the products of those of two
        positions, to ``overlap``.
        """
        common = self.common
        own = self.second - common
        return gaussian(common + own * min(squares, 1.0), common + own * min(overlap, 1.0), self.mean)

    def largest(self, count: float) -> Distribution:
        """What the largest of so many positions is like."""
        rows, order = self.grid.flatten(0, 1).sort(1)
        below = torch.cumsum(OWN_WEIGHTS[order], 1) - OWN_WEIGHTS[order] / 2
        at = (_BELOW ** (1.0 / max(count, 1.0))).numpy()
        made = [np.interp(at, b.numpy(), row.numpy()) for b, row in zip(below, rows, strict=True)]
        return Distribution(torch.from_numpy(np.stack(made)).view(GRID))

    def whitened(self, by_channel: bool) -> Distribution:
        """With mean 0 and variance 1: of each channel, or of all channels of a sample."""
        grid = self.grid if self.sized else self.grid[:, :1]
        if by_channel:
            spread = (self.own() + 1e-12).sqrt()[:, None, None]
            return Distribution((grid - self.shared[:, None, None]) / spread, self.source)
        values = grid - by_size(grid)[:, None]
        return Distribution(values / (by_size(values.square()) + 1e-12).sqrt()[:, None], self.source)

    def slope(self, before: Distribution) -> float:
        """E[f'²] as a function of what it was computed from."""
        rise = (self.grid[..., 1:] - self.grid[..., :-1]) / (before.grid[..., 1:] - before.grid[..., :-1])
        weights = torch.minimum(OWN_WEIGHTS[1:], OWN_WEIGHTS[:-1])
        return float(SHARED_WEIGHTS @ (rise.square() @ (weights / weights.sum())) @ SIZE_WEIGHTS)

    def noise(self, values: torch.Tensor) -> torch.Tensor:
        """Relative variance of the square of one element of these values, by s, for a sample of this s.

        What the sample's own size says of it is taken out: of a linear function nothing is left.
        """
        squares = values.square()
        energies = by_size(squares)
        left = squares - energies[:, None]
        variance = by_size(left.square())
        if self.source is not None and self.source.values is not None:
            known = self.source.values.double().expand(GRID).square()
            known = known - by_size(known)[:, None]
            variance = variance - by_size(left * known).square() / by_size(known.square()).clamp_min(1e-300)
        return variance.clamp_min(0.0) / energies.square().clamp_min(1e-300)

    def again(self) -> Distribution:
        """Other elements of the same kind."""
        return self if self.source is None else Distribution(self.values, normal=self.normal)


def constant(number: float) -> Distribution:
    """One number everywhere."""
    return Distribution(torch.tensor(number, dtype=torch.float64, device="cpu"), None)


def gaussian(
    second: float,
    common: float = 0.0,
    mean: float = 0.0,
    energies: torch.Tensor | None = None,
    noise: torch.Tensor | float = 0.0,
) -> Distribution:
    """Gaussian elements with these moments.

    ``energies``: how the mean square differs from sample to sample, by s, to a factor; ``noise``: by what
    relative variance it differs beside.
    """
    shared, own = max(common - mean**2, 0.0), max(second - max(common, mean**2), 0.0)
    fixed = mean + math.sqrt(shared) * SHARED[:, None, None]
    noise = torch.as_tensor(noise, dtype=torch.float64, device="cpu").expand(GRID[1])
    energies = torch.ones(GRID[1], dtype=torch.float64, device="cpu") if energies is None else energies
    if float(energies.max() - energies.min()) <= 1e-9 * float(energies.max()) and float(noise.max()) <= 1e-9:
        values = fixed + math.sqrt(own) * OWN
    else:
        total = sizes_after(energies, noise) * (own + shared + mean**2)
        each = (total - shared - mean**2).clamp_min(0.0)
        each = each * (own / max(float(each @ SIZE_WEIGHTS), 1e-300))
        values = fixed + each.sqrt()[:, None] * OWN
    return Distribution(values, Source(values), normal=True)


def mixture(parts: list[tuple[float, Distribution]]) -> Distribution:
    """Some elements of one kind and some of others, with their shares."""
    if len({id(each.source) for _, each in parts}) == 1 and parts[0][1].source is not None:
        return parts[0][1]
    total = sum(share for share, _ in parts)
    second, common, mean = (
        sum(share * getattr(each, name) for share, each in parts) / total
        for name in ("second", "common", "mean")
    )
    energies = torch.stack([share * each.energies for share, each in parts]).sum(0)
    return gaussian(second, common, mean, energies)


def combined(
    operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: Distribution, b: Distribution
) -> Distribution:
    """What an operation makes of elements of one sample that have nothing else to do with each other."""
    weights, sizes = OWN_WEIGHTS, SIZE_WEIGHTS
    grids = [a.grid, b.grid]
    if a.sized or b.sized:
        (one, weights), (two, _) = map(coarse, grids)
        grids = [one, two]
    else:
        grids, sizes = [each[:, :1] for each in grids], SIZE_WEIGHTS.new_ones(1)
    joint = operation(grids[0][:, None, :, :, None], grids[1][None, :, :, None, :]).double()
    pairs, count, own = len(SHARED) ** 2, len(sizes), len(weights)
    joint = joint.expand(len(SHARED), len(SHARED), count, own, own).reshape(pairs, count, own**2)
    u_weights = torch.outer(SHARED_WEIGHTS, SHARED_WEIGHTS).flatten()
    v_weights = torch.outer(weights, weights).flatten()
    ordered, places = joint.flatten(0, 1).sort(1)
    rows = binned(ordered, v_weights[places], OWN_WEIGHTS).view(pairs, count, -1)
    order = ((rows @ OWN_WEIGHTS) @ sizes).argsort()
    columns = rows[order].permute(1, 2, 0).flatten(0, 1).contiguous()
    values = binned(columns, u_weights[order].repeat(len(columns), 1), SHARED_WEIGHTS)
    values = values.view(count, len(OWN), -1).permute(2, 0, 1).contiguous()
    # Bins keep the mean; what they lose of the spread is given back.
    made = Distribution(values)
    second = float(u_weights @ (joint.square() @ v_weights) @ sizes)
    common = float(u_weights @ ((joint @ v_weights) @ sizes).square())
    shared = made.shared[:, None, None]
    scale_own = math.sqrt(max(second - common, 0.0) / max(made.second - made.common, 1e-300))
    scale_shared = math.sqrt(max(common - made.mean**2, 0.0) / max(made.common - made.mean**2, 1e-300))
    return Distribution(
        made.mean + (shared - made.mean) * min(scale_shared, 4.0) + (values - shared) * min(scale_own, 4.0)
    )
