"""How large a tensor is, without a copy of it."""

from __future__ import annotations

import math

import torch

_SMALLEST, _LARGEST = 1e-12, 1e15


def largest(tensor: torch.Tensor) -> float:
    """The largest absolute value; not finite exactly if some element is not."""
    tensor = tensor.detach()
    if tensor.numel() == 0:
        return 0.0
    low, high = (each.item() for each in torch.aminmax(tensor))
    return max(abs(low), abs(high)) if not (math.isnan(low) or math.isnan(high)) else math.nan


def rms(tensor: torch.Tensor) -> float:
    """The root of the mean square, also where a square would overflow."""
    tensor = tensor.detach()
    if tensor.numel() == 0:
        return 0.0
    found = torch.linalg.vector_norm(tensor, dtype=_summed_in(tensor)).item() / math.sqrt(tensor.numel())
    if found == math.inf or 0 < found < 1e-15 or (found == 0 and bool(tensor.any())):
        found = torch.linalg.vector_norm(tensor, dtype=torch.float64).item() / math.sqrt(tensor.numel())
    # A NaN that an operation made may have a sign, which tells nothing.
    return math.nan if math.isnan(found) else found


def _summed_in(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def usual_rms(tensor: torch.Tensor, axis: int) -> float:
    """The median over positions of the root of the mean square along the channels; of those that are not 0.

    A row of padding, or one token whose gradient is a thousand times that of any other, does not colour it.
    """
    tensor = tensor.detach()
    if tensor.dim() < 2 or tensor.numel() == 0:
        return rms(tensor)
    norms = torch.linalg.vector_norm(tensor, dim=axis, dtype=_summed_in(tensor)).flatten()
    if not bool(torch.isfinite(norms).all()) or float(norms.max()) < 1e-15:
        return rms(tensor)
    return norms[norms > 0].median().item() / math.sqrt(tensor.shape[axis])


def variation(tensor: torch.Tensor) -> float | None:
    """How much of a tensor differs from sample to sample; None where that cannot be said."""
    tensor = tensor.detach()
    if tensor.dim() < 2 or len(tensor) < 2:
        return None
    whole = rms(tensor)
    # Beyond these, squares overflow or vanish, and another check speaks.
    if not _SMALLEST < whole < _LARGEST:
        return None
    return torch.var(tensor, dim=0, correction=0).float().mean().sqrt().item() / whole


def first_tensor_of(output: object) -> torch.Tensor | None:
    """The first tensor of floating-point numbers in a tuple, or the tensor itself."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, torch.Tensor) and output.is_floating_point():
        return output
    return None
