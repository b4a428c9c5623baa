"""Nodes: at which Gaussian numbers a function is known, and with what weights.

A function is known on a grid of three axes. Along the first lies what all positions and samples of a channel
share; along the second, how large a sample is as a whole; along the third, what is each element's own.
"""

from __future__ import annotations

import numpy as np
import torch

# Activations have their corners at whole numbers: panels of one unit end there.
_LAST_PANEL, _NODES_OF_PANEL = 6, 5


def _hermite(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def _panels() -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Legendre on each unit: one rule for all the line is off by percents where there are corners."""
    inside, weights = np.polynomial.legendre.leggauss(_NODES_OF_PANEL)
    starts = np.arange(-_LAST_PANEL, _LAST_PANEL)
    nodes = (starts[:, None] + (inside[None, :] + 1) / 2).ravel()
    weights = np.tile(weights, len(starts)) * np.exp(-(nodes**2) / 2)
    return torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


SHARED, SHARED_WEIGHTS = _hermite(8)
SIZES, SIZE_WEIGHTS = _hermite(17)
OWN, OWN_WEIGHTS = _panels()
GRID = (len(SHARED), len(SIZES), len(OWN))
_SPLIT, _SPLIT_WEIGHTS = _hermite(5)
# Of neighboring nodes, so many become one where a grid is multiplied with another.
_TOGETHER = 3


def mean(grid: torch.Tensor) -> float:
    """E of what stands at the nodes."""
    return float(SHARED_WEIGHTS @ (grid @ OWN_WEIGHTS) @ SIZE_WEIGHTS)


def by_size(grid: torch.Tensor) -> torch.Tensor:
    """E for each size of a sample."""
    return SHARED_WEIGHTS @ (grid @ OWN_WEIGHTS)


def by_shared(grid: torch.Tensor) -> torch.Tensor:
    """E for each number that positions share."""
    return (grid @ OWN_WEIGHTS) @ SIZE_WEIGHTS


def binned(rows: torch.Tensor, weights: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Rows in their order, each with its weights, averaged into bins of the wanted weights."""
    zero = torch.zeros(len(rows), 1, dtype=torch.float64, device="cpu")
    ends = torch.cat([zero, torch.cumsum(weights, 1)], 1)
    sums = torch.cat([zero, torch.cumsum(weights * rows, 1)], 1)
    edges = torch.cat([zero[0], torch.cumsum(wanted, 0)]) * (ends[:, -1:] / wanted.sum())
    at = (torch.searchsorted(ends, edges.contiguous()) - 1).clamp(0, rows.shape[1] - 1)
    until = sums.gather(1, at) + rows.gather(1, at) * (edges - ends.gather(1, at))
    return (until[:, 1:] - until[:, :-1]) / (edges[:, 1:] - edges[:, :-1]).clamp_min(1e-300)


def coarse(grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fewer nodes of what is each element's own, with the same mean and mean square, and their weights."""
    weights = OWN_WEIGHTS.view(-1, _TOGETHER)
    few = weights.sum(1)
    made = (grid.unflatten(2, (-1, _TOGETHER)) * weights).sum(3) / few
    middle = (grid @ OWN_WEIGHTS)[..., None]
    spread, left = (grid - middle).square() @ OWN_WEIGHTS, (made - middle).square() @ few
    return middle + (made - middle) * (spread / left.clamp_min(1e-300)).sqrt()[..., None], few


def sizes_after(energies: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """How large samples are, of mean 1, where each has this mean square up to a relative noise.

    A sum over n units is not its mean: from layer to layer samples drift apart, and where the mean square of
    an activation grows faster than that of its input (SiLU's does), every layer multiplies what they differ
    by. The mean over samples then is not what it is for a sample of the mean size.
    """
    logs = energies.clamp_min(1e-30 * float(energies.max())).log()
    steps = torch.log1p(noise.clamp(0.0, 1.0))
    parts = (logs - steps / 2 + _SPLIT[:, None] * steps.sqrt()).flatten()
    weights = torch.outer(_SPLIT_WEIGHTS, SIZE_WEIGHTS).flatten()
    ordered, order = parts.sort()
    weights = weights[order]
    made = binned(ordered[None], weights[None], SIZE_WEIGHTS)[0]
    # Bins keep the mean; what they lose of the spread is given back.
    middle = ordered @ weights
    spread, left = (ordered - middle).square() @ weights, (made - middle).square() @ SIZE_WEIGHTS
    made = middle + (made - middle) * (spread / left.clamp_min(1e-300)).sqrt()
    made = (made - made.max()).exp()
    return made / (made @ SIZE_WEIGHTS)


def spread_of_sizes(energies: torch.Tensor) -> float:
    """Standard deviation of the logarithm of a sample's size, of its mean squares."""
    logs = energies.clamp_min(1e-300).log() / 2
    return float((logs - logs @ SIZE_WEIGHTS).square() @ SIZE_WEIGHTS) ** 0.5
