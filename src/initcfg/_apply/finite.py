"""Counting numbers that are not finite."""

from __future__ import annotations

import torch


def non_finite(tensor: torch.Tensor) -> int:
    """How many elements of a tensor are NaN or infinite.

    Example:
        >>> import torch
        >>> from initcfg._apply.finite import non_finite
        >>> non_finite(torch.tensor([1.0, float("nan"), float("inf")]))
        2
    """
    tensor = tensor.detach()
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta or not tensor.numel():
        return 0
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
        return int((~tensor.isfinite()).any(dim=-1).sum())
    if tensor.dtype.itemsize == 1:
        # The eight-bit types cannot be asked themselves.
        return sum(non_finite(piece.float()) for piece in tensor.reshape(-1).split(1 << 20))
    low, high = tensor.aminmax()
    if bool(low.isfinite()) and bool(high.isfinite()):
        return 0
    return sum(int((~piece.isfinite()).sum()) for piece in tensor.reshape(-1).split(1 << 22))
