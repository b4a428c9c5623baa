"""How far two tensors of one shape are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch

# Elements at a time: through float64, for the sake of memory.
_PIECE = 1 << 20


class Distance(NamedTuple):
    """How far a tensor is from another.

    ``norm`` is ‖b − a‖ and ``start`` is ‖a‖, over the elements that are finite in both; ``most`` is the
    largest difference of an element, and ``differing`` the number of those that differ.
    """

    norm: float
    start: float
    most: float
    differing: int

    @property
    def relative(self) -> float | None:
        """‖b − a‖ / ‖a‖; None where that is no number, since a is zero."""
        return self.norm / self.start if self.start else None


def distance(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Distance:
    """The distance of two tensors that come in pieces: pairs of the same shape, one after the other.

    Example:
        >>> import torch
        >>> from initcfg._apply.verifying.distance import distance
        >>> distance([(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))]).relative
        0.1
    """
    norm = start = most = 0.0
    differing = 0
    for first, second in pairs:
        for a, b in zip(*(each.reshape(-1).split(_PIECE) for each in (first, second)), strict=True):
            if not a.numel():
                continue
            here, there = wide(a), wide(b)
            finite = here.isfinite() & there.isfinite()
            differing += int((~_same(here, there)).sum())
            apart = torch.where(finite, there - here, 0).abs()
            # By hypot, since squares may overflow where the norm does not.
            norm = math.hypot(norm, float(torch.linalg.vector_norm(apart)))
            start = math.hypot(start, float(torch.linalg.vector_norm(torch.where(finite, here, 0))))
            most = max(most, float(apart.max()))
    return Distance(norm, start, most, differing)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Numbers of any type as float64, or as complex128."""
    if tensor.is_complex():
        return tensor.resolve_conj().to(torch.complex128)
    # Not every type goes to float64 at once.
    return (tensor.float() if tensor.dtype.itemsize == 1 else tensor).double()


def _same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a == b) | (a.isnan() & b.isnan())
