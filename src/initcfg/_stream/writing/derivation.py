"""Steps that make the weights of another model, larger or smaller: elements, copies, parts of low rank."""

from __future__ import annotations

import math

import torch


def subset(tensor: torch.Tensor, *sizes: int) -> torch.Tensor:
    """Elements at even distances along each axis: Xu et al. 2024, weight_selection.py.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.derivation import subset
        >>> subset(torch.arange(8.0), 4).tolist(), subset(torch.arange(8.0), 3).tolist()
        ([0.0, 2.0, 4.0, 6.0], [0.0, 4.0, 7.0])
    """
    if len(sizes) != tensor.dim() or any(few > many for few, many in zip(sizes, tensor.shape, strict=True)):
        raise ValueError(f"no {sizes} elements can be chosen")
    if tensor.is_meta:
        return tensor.new_empty(sizes)
    for axis, few in enumerate(sizes):
        many = tensor.shape[axis]
        if few == many:
            continue
        even = bool(few) and many % few == 0
        chosen = (
            torch.arange(few, device="cpu") * (many // few)
            if even
            else torch.linspace(0, many - 1, few, dtype=torch.float32, device="cpu").round().long()
        )
        tensor = tensor.index_select(axis, chosen.to(tensor.device))
    return tensor


def copies(tensor: torch.Tensor, axis: int, size: int, shared: bool = False) -> torch.Tensor:
    """An axis of another size, filled in turn; if ``shared``, each is divided by the number of its copies.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.derivation import copies
        >>> two = torch.tensor([4.0, 6.0])
        >>> copies(two, 0, 3).tolist(), copies(two, 0, 3, shared=True).tolist()
        ([4.0, 6.0, 4.0], [2.0, 6.0, 2.0])
    """
    there = tensor.shape[axis]
    if there < 1 or size < there:
        raise ValueError(f"{there} are not copied to {size}")
    if tensor.is_meta:
        return tensor.new_empty((*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]))
    places = torch.arange(size, device=tensor.device) % there
    made = tensor.index_select(axis, places)
    if not shared:
        return made
    counts = torch.bincount(places, minlength=there)[places]
    counts = counts.reshape(-1, *[1] * (tensor.dim() - axis - 1))
    return (made.to(_wide(tensor)) / counts).to(tensor.dtype)


def repeat(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """A new first axis of so many copies, which take no memory."""
    return tensor.expand(count, *tensor.shape)


def low_rank(tensor: torch.Tensor, part: str, rank: int, scaling: float, by: str) -> torch.Tensor:
    """A part of W = rest + scaling · B A, as peft makes it: PiSSA by singular vectors, OLoRA by QR.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.derivation import low_rank
        >>> weight = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> rest = low_rank(weight, "rest", 1, 2.0, "pissa")
        >>> torch.allclose(rest, torch.tensor([[0.0, 0.0], [0.0, 1.0]]), atol=1e-5)
        True
    """
    if tensor.dim() != 2 or rank > min(tensor.shape):
        raise ValueError(f"no rank of {rank} is in {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    if tensor.is_meta:
        return tensor.new_empty({"A": (rank, columns), "B": (rows, rank), "rest": (rows, columns)}[part])
    matrix = tensor.to(_wide(tensor))
    if not torch.isfinite(matrix).all():
        # It has no parts; the ledger counts these.
        return torch.full(
            {"A": (rank, columns), "B": (rows, rank)}.get(part, (rows, columns)), math.nan, device="cpu"
        )
    if by == "pissa":
        left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
        root = (singular[:rank] / scaling).sqrt()
        down, up = root[:, None] * right[:rank], left[:, :rank] * root
    else:
        left, right = torch.linalg.qr(matrix)
        down, up = right[:rank], left[:, :rank]
    if part == "rest":
        return (matrix - scaling * (up @ down)).to(tensor.dtype)
    return down if part == "A" else up


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
