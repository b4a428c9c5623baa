"""Casts: which numbers of a tensor another data type cannot hold, so that a copy would be others."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from initcfg._stream.writing.as_array import as_array

_PIECE = 1 << 22


class Lost(NamedTuple):
    """How many numbers a cast would change, and the first of them as it is shown."""

    numbers: int = 0
    first: str = ""


def may_lose(there: torch.dtype, here: torch.dtype) -> bool:
    """Whether a type has numbers that would be others in a type, not counting what is rounded.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.casts import may_lose
        >>> may_lose(torch.float64, torch.float32), may_lose(torch.bfloat16, torch.float32)
        (True, False)
    """
    if there in (here, torch.bool):
        return False
    if _is_real(here):
        if not _is_real(there) or (there.is_complex and not here.is_complex):
            return True
        return torch.finfo(there).max > torch.finfo(here).max
    if here == torch.bool or _is_real(there):
        return True
    return _least(there) < _least(here) or torch.iinfo(there).max > torch.iinfo(here).max


def lost_in_cast(tensor: torch.Tensor, dtype: torch.dtype) -> Lost:
    """The numbers of a tensor that a type does not hold: fractions and large ones in whole numbers, or what
    becomes infinite.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.casts import lost_in_cast
        >>> lost_in_cast(torch.tensor([1.5, 2.0, 300.0]), torch.uint8)
        Lost(numbers=2, first='1.5')
    """
    tensor = tensor.detach()
    if tensor.is_meta or not tensor.numel() or not may_lose(tensor.dtype, dtype):
        return Lost()
    if _is_real(dtype) and _is_real(tensor.dtype) and _within(tensor, dtype):
        return Lost()
    count, first = 0, ""
    for piece in tensor.reshape(-1).split(_PIECE):
        bad = _bad(piece, dtype)
        if bad.any():
            first = first or str(piece[int(np.argmax(bad))].item())
            count += int(bad.sum())
    return Lost(count, first)


def _is_real(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _least(dtype: torch.dtype) -> int:
    return torch.iinfo(dtype).min


def _within(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all numbers are finite and stay so: one look at the least and the greatest."""
    if tensor.is_complex() or 1 in (tensor.dtype.itemsize, dtype.itemsize):
        return False
    ends = torch.stack(tensor.aminmax())
    return bool(ends.isfinite().all()) and bool(ends.to(dtype).float().isfinite().all())


def _bad(piece: torch.Tensor, dtype: torch.dtype) -> np.ndarray[Any, Any]:
    """Which numbers of a piece the type does not hold."""
    if piece.is_complex():
        real, imaginary = torch.view_as_real(piece.resolve_conj()).unbind(-1)
        if dtype.is_complex:
            return _bad(real, dtype.to_real()) | _bad(imaginary, dtype.to_real())
        return _bad(real, dtype) | as_array(imaginary != 0)
    if _is_real(dtype):
        part = dtype.to_real() if dtype.is_complex else dtype
        real = piece if piece.is_floating_point() and piece.dtype.itemsize > 1 else piece.double()
        # A float of a byte may have no infinity: its greatest number stands for what is beyond.
        beyond = real.abs() > torch.finfo(part).max if part.itemsize == 1 else ~real.to(part).isfinite()
        return as_array(real.isfinite() & beyond)
    numbers = as_array((piece.double() if piece.is_floating_point() else piece).contiguous())
    if dtype == torch.bool:
        return (numbers != 0) & (numbers != 1)
    limits = torch.iinfo(dtype)
    if piece.is_floating_point():
        # The greatest whole number of 64 bits is no number of double precision; the one after it is.
        held = (numbers >= limits.min) & (numbers < float(limits.max) + (1 if limits.bits < 64 else 0))
        return ~(held & (np.trunc(numbers) == numbers))
    own = np.iinfo(numbers.dtype)
    return (numbers < max(limits.min, own.min)) | (numbers > min(limits.max, own.max))
