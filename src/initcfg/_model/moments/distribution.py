"""Distributions: what the elements of a tensor are like, as a function of Gaussian numbers at a few nodes.

An element is f(u, v): u is what all positions and samples of a channel share, and v what differs. Both are
standard normal, and f is known at the nodes of a Gauss-Hermite quadrature. What torch computes of a tensor
element by element, it computes of f at these nodes: so the moments of any activation are those of the
function itself. Tensors that are functions of the same numbers have the same ``source``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

_SHARED, _OWN = 8, 24


def _nodes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


_U, _U_WEIGHTS = _nodes(_SHARED)
_V, _V_WEIGHTS = _nodes(_OWN)
# Probabilities below the nodes: where the mass of each has its middle.
_V_BELOW = torch.cumsum(_V_WEIGHTS, 0) - _V_WEIGHTS / 2


class Source:
    """Gaussian numbers that tensors are functions of."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """What elements are like.

    Attributes:
        values: f at the nodes, shape (nodes of u, nodes of v); of one number everywhere, any shape that
            expands to it.
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
        return self.values.double().expand(_SHARED, _OWN)

    @property
    def mean(self) -> float:
        """E[x]."""
        return float(_mean(self.grid))

    @property
    def second(self) -> float:
        """E[x²]."""
        return float(_mean(self.grid.square()))

    @property
    def common(self) -> float:
        """E[x x'] of two positions of a channel."""
        return float((self.shared.square() * _U_WEIGHTS).sum())

    @property
    def shared(self) -> torch.Tensor:
        """E[x] for each u."""
        return (self.grid * _V_WEIGHTS).sum(1)

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(max(self.second - self.mean**2, 0.0))

    def own(self) -> torch.Tensor:
        """Variance of x for each u."""
        return ((self.grid - self.shared[:, None]).square() * _V_WEIGHTS).sum(1)

    def averaged(self, own: float) -> Distribution:
        """What averages of positions are like, where each one's own variance is so much less."""
        return Distribution(self.shared[:, None] + (self.own() * min(own, 1.0)).sqrt()[:, None] * _V)

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
        ordered, order = self.grid.sort(1)
        below = torch.cumsum(_V_WEIGHTS[order], 1) - _V_WEIGHTS[order] / 2
        at = (_V_BELOW ** (1.0 / max(count, 1.0))).numpy()
        rows = [np.interp(at, b.numpy(), row.numpy()) for b, row in zip(below, ordered, strict=True)]
        return Distribution(torch.from_numpy(np.stack(rows)))

    def whitened(self, by_channel: bool) -> Distribution:
        """With mean 0 and variance 1: of each channel, or of all together."""
        if by_channel:
            values = (self.grid - self.shared[:, None]) / (self.own() + 1e-12).sqrt()[:, None]
        else:
            values = (self.grid - self.mean) / math.sqrt(self.second - self.mean**2 + 1e-12)
        return Distribution(values, self.source)

    def slope(self, before: Distribution) -> float:
        """E[f'²] as a function of what it was computed from."""
        rise = (self.grid[:, 1:] - self.grid[:, :-1]) / (before.grid[:, 1:] - before.grid[:, :-1])
        weights = torch.minimum(_V_WEIGHTS[1:], _V_WEIGHTS[:-1])
        return float(_U_WEIGHTS @ rise.square() @ (weights / weights.sum()))

    def again(self) -> Distribution:
        """Other elements of the same kind."""
        return self if self.source is None else Distribution(self.values, normal=self.normal)


def constant(number: float) -> Distribution:
    """One number everywhere."""
    return Distribution(torch.tensor(number, dtype=torch.float64), None)


def gaussian(second: float, common: float = 0.0, mean: float = 0.0) -> Distribution:
    """Gaussian elements with these moments."""
    shared, own = max(common - mean**2, 0.0), max(second - max(common, mean**2), 0.0)
    values = mean + math.sqrt(shared) * _U[:, None] + math.sqrt(own) * _V[None, :]
    return Distribution(values, normal=True)


def mixture(parts: list[tuple[float, Distribution]]) -> Distribution:
    """Some elements of one kind and some of others, with their shares."""
    if len({id(each.source) for _, each in parts}) == 1 and parts[0][1].source is not None:
        return parts[0][1]
    total = sum(share for share, _ in parts)
    second, common, mean = (
        sum(share * getattr(each, name) for share, each in parts) / total
        for name in ("second", "common", "mean")
    )
    return gaussian(second, common, mean)


def combined(
    operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: Distribution, b: Distribution
) -> Distribution:
    """What an operation makes of elements that have nothing to do with each other."""
    joint = operation(a.grid[:, None, :, None], b.grid[None, :, None, :]).double()
    joint = joint.expand(_SHARED, _SHARED, _OWN, _OWN).reshape(_SHARED**2, _OWN**2)
    u_weights = torch.outer(_U_WEIGHTS, _U_WEIGHTS).flatten()
    v_weights = torch.outer(_V_WEIGHTS, _V_WEIGHTS).flatten()
    ordered, places = joint.sort(1)
    rows = _binned(ordered, v_weights[places], _V_WEIGHTS)
    order = (rows * _V_WEIGHTS).sum(1).argsort()
    values = _binned(rows[order].T, u_weights[order].expand(_OWN, -1), _U_WEIGHTS).T
    # Bins keep the mean; what they lose of the spread is given back.
    made = Distribution(values.contiguous())
    second = float((joint.square() * v_weights).sum(1) @ u_weights)
    common = float((joint * v_weights).sum(1).square() @ u_weights)
    shared = made.shared[:, None]
    scale_own = math.sqrt(max(second - common, 0.0) / max(made.second - made.common, 1e-300))
    scale_shared = math.sqrt(max(common - made.mean**2, 0.0) / max(made.common - made.mean**2, 1e-300))
    return Distribution(
        made.mean + (shared - made.mean) * min(scale_shared, 4.0) + (values - shared) * min(scale_own, 4.0)
    )


def _binned(rows: torch.Tensor, weights: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Rows in their order, each with its weights, averaged into bins of the wanted weights."""
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(wanted, 0)])
    ends = torch.cumsum(weights, 1)
    low = torch.maximum(edges[:-1, None], (ends - weights)[:, None, :])
    high = torch.minimum(edges[1:, None], ends[:, None, :])
    share = (high - low).clamp_min(0.0)
    return (share @ rows[:, :, None])[:, :, 0] / share.sum(2).clamp_min(1e-300)


def _mean(grid: torch.Tensor) -> torch.Tensor:
    return _U_WEIGHTS @ grid @ _V_WEIGHTS
