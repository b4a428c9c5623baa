"""Products: over how many terms an operation sums, and what it multiplies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from initcfg._model.moments.distribution import Distribution, gaussian
from initcfg._model.moments.nodes import SIZE_WEIGHTS, by_size

ORTHOGONAL_UP_TO = 256
"""Wider matrices are Gaussian: their sums have many terms, and orthogonal ones would take long."""
# Inputs of so few terms have no mean worth the name.
_MANY = 16


@dataclass(frozen=True)
class Product:
    """A product of two tensors.

    Attributes:
        data: What is multiplied.
        other: By what.
        terms: How many products an element of the result sums, on average.
        lookup: Whether rows of a table are looked up.
        coverage: The share of a kernel that lies on the input, on average.
        axes: Of a weight: the axes that are summed over, where they are many; none if that is not plain.
    """

    data: torch.Tensor
    other: torch.Tensor
    terms: float
    lookup: bool = False
    axes: tuple[int, ...] = ()
    coverage: float = 1.0


def product_of(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: torch.Tensor
) -> Product | None:
    """The product that an operation of ATen is, if it is one."""
    if name in ("mm", "bmm", "matmul", "mv", "linear", "dot"):
        return Product(args[0], args[1], args[0].shape[-1], axes=_summed(args[1]))
    if name in ("addmm", "baddbmm", "addmv"):
        return Product(args[1], args[2], args[1].shape[-1], axes=_summed(args[2]))
    if name == "_grouped_mm":
        return Product(args[0], args[1], args[0].shape[-1])
    if name in ("embedding", "embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"):
        return Product(args[1], args[0], 1.0, lookup=True)
    if name in ("convolution", "_convolution"):
        plain = not args[6] and args[1].shape[1] >= _MANY
        axes = tuple(range(1, args[1].dim())) if plain else ()
        terms = _terms(args, output)
        return Product(args[0], args[1], terms, axes=axes, coverage=terms / args[1][0].numel())
    return None


def through_weight(given: Distribution, product: Product, coverage: float) -> Distribution:
    """What comes out of a product with a weight of independent elements of variance 1.

    ``coverage``: of how much of the mean the weights take out, since the sum of each output's is 0.
    """
    rows = product.other.numel() / product.terms
    if product.lookup:
        return gaussian(1.0, noise=2.0 / product.other.shape[-1])
    grid = given.grid
    means = by_size(grid)
    energies = by_size(grid.square()) - coverage * means.square()
    # At a border, what is left of the weights has a mean; it is another one on each side.
    common = given.common - (given.mean**2 if coverage else 0.0)
    noise = given.noise(grid - coverage * means[:, None]) / product.terms
    # Weights that keep no length: Gaussian ones, and those with fewer outputs than inputs.
    kept = 0.0 if min(rows, product.terms) > ORTHOGONAL_UP_TO else 1.0 / product.terms
    noise = noise + 2.0 * max(1.0 / rows - kept, 0.0)
    # A mean over n numbers has in part been taken from each of them.
    factor = product.terms * (1.0 - coverage / product.terms)
    second = float(energies.clamp_min(0.0) @ SIZE_WEIGHTS)
    if product.other.dim() > 2 and math.prod(product.other.shape[2:]) > 1:
        # Over the places of a kernel, differences of size are averaged.
        return gaussian(factor * second, factor * max(common, 0.0))
    return gaussian(factor * second, factor * max(common, 0.0), energies=energies.clamp_min(0.0), noise=noise)


def _summed(matrix: torch.Tensor) -> tuple[int, ...]:
    """The axis of a weight that a product with this view of it sums over."""
    if matrix.dim() != 2 or matrix.shape[0] < _MANY:
        return ()
    return (0,) if matrix.is_contiguous() else (1,)


def _terms(args: Sequence[Any], output: torch.Tensor) -> float:
    """Terms of a convolution: padding gives none, and a transposed one spreads its inputs."""
    data, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
    sizes, rank = list(weight.shape[2:]), weight.dim() - 2
    if transposed:
        spread = math.prod(data.shape[2:]) / math.prod(output.shape[2:])
        return weight.shape[0] / groups * math.prod(sizes) * spread
    terms = float(weight.shape[1])
    for axis in range(rank):
        step, pad, apart = (each[axis] if len(each) > 1 else each[0] for each in (stride, padding, dilation))
        terms *= _taps(data.shape[2 + axis], output.shape[2 + axis], sizes[axis], step, pad, apart)
    return terms


def _taps(size: int, made: int, kernel: int, step: int, pad: int, apart: int) -> float:
    """How many taps of a kernel lie on the input, on average of all places."""
    inside = sum(
        1 for at in range(made) for tap in range(kernel) if 0 <= at * step - pad + tap * apart < size
    )
    return inside / max(made, 1)
