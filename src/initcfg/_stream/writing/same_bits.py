"""Whether tensors hold the same bits: zero with its sign, and NaN as it is."""

from __future__ import annotations

import torch


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor's elements, one after the other, in one dimension.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing import bits_of
        >>> bits_of(torch.tensor([0.0, -0.0])).tolist()
        [0, 0, 0, 0, 0, 0, 0, 128]
    """
    return tensor.detach().resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8)


def same_bits(first: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are of one shape and type, and all bits are the same.

    On the meta device there are none. ``torch.equal`` takes 0 and -0 for the same, and NaN for something
    else than itself.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing import same_bits
        >>> nan, zero = torch.tensor([float("nan")]), torch.zeros(1)
        >>> same_bits(nan, nan.clone()), same_bits(zero, -zero)
        (True, False)
    """
    if (first.shape, first.dtype, first.layout) != (other.shape, other.dtype, other.layout):
        return False
    if first.is_meta or other.is_meta:
        return True
    if first.layout is not torch.strided or first.is_quantized or first.is_nested:
        return torch.equal(first, other)
    return torch.equal(bits_of(first), bits_of(other))


def all_the_same(tensor: torch.Tensor) -> bool:
    """Whether all elements of a tensor have the same bits.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing import all_the_same
        >>> all_the_same(torch.ones(3)), all_the_same(torch.tensor([0.0, -0.0]))
        (True, False)
    """
    each = bits_of(tensor).view(tensor.numel(), tensor.itemsize) if tensor.numel() else tensor
    return bool((each == each[:1]).all())
