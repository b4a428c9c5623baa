"""Adaptation steps, carried out: from tensors of a checkpoint to one that fits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from initcfg._stream.writing.derivation import copies, low_rank, repeat, subset
from initcfg.errors import PlanError
from initcfg.values import AdaptationStep

Draw = Callable[[tuple[int, ...]], torch.Tensor]
"""Gives a tensor of standard normal numbers, in float32."""
# How many numbers may lie between a plan's steps, and how many more for each before and after them.
_FREE, _MOST_BETWEEN = 1 << 20, 8
# The matrix that moves a patch has the square of so many numbers.
_LARGEST_PATCH = 1 << 12


def carried_out(
    tensors: Sequence[torch.Tensor], steps: Sequence[AdaptationStep], draw: Draw = torch.randn
) -> torch.Tensor:
    """The tensor that the steps make of ``tensors``; ``draw`` is for new rows by covariance.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing.adaptation import carried_out
        >>> carried_out([torch.tensor([[1.0], [2.0]])], [("grow", "mean", 3)]).tolist()
        [[1.0], [2.0], [1.5]]
    """
    current = list(tensors)
    for step in steps:
        current = _stepped(current, step, draw)
    return _only(current)


def _stepped(current: Sequence[torch.Tensor], step: AdaptationStep, draw: Draw) -> list[torch.Tensor]:
    try:
        kind, *arguments = step
        if kind == "concat":
            return [torch.cat(list(current), *arguments)]
        if kind == "stack":
            return _stacked(current, *arguments)
        if kind == "dequantize":
            pairs = zip(current[::2], current[1::2], strict=True)
            return [_dequantize(*pair, *arguments) for pair in pairs]
        further = {"draw": draw} if kind == "grow" else {}
        return [_STEPS[kind](each, *arguments, **further) for each in current]
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        shapes = ", ".join(str(tuple(each.shape)) for each in current)
        raise PlanError(f"The step {step!r} has no meaning for {shapes}: {error}.") from error


def _only(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    if len(tensors) != 1:
        raise PlanError(f"These steps leave {len(tensors)} tensors, and one is needed.")
    return tensors[0]


def result_shape(shapes: Sequence[tuple[int, ...]], steps: Sequence[AdaptationStep]) -> tuple[int, ...]:
    """The shape that the steps lead to, without numbers.

    Raises:
        PlanError: They have no meaning for these shapes, or take far more memory than what they begin and
            end with.
    """
    on_meta = functools.partial(torch.empty, device="meta")
    current: list[torch.Tensor] = [on_meta(shape) for shape in shapes]
    first = most = _elements(current)
    for step in steps:
        current = _stepped(current, step, on_meta)
        most = max(most, _elements(current))
    if most > _FREE + _MOST_BETWEEN * (first + _elements(current)):
        raise PlanError(
            f"The steps {tuple(steps)!r} make {most:,} numbers on their way, far more than are needed."
        )
    return tuple(_only(current).shape)


def _elements(tensors: Sequence[torch.Tensor]) -> int:
    return sum(each.numel() for each in tensors)


def split_views(
    steps: Sequence[AdaptationStep],
) -> tuple[tuple[AdaptationStep, ...], tuple[AdaptationStep, ...]]:
    """The steps before the first that computes something, or joins tensors; and the rest.

    Example:
        >>> from initcfg._stream.writing.adaptation import split_views
        >>> split_views([("take", 2), ("grow", "mean", 3)])
        ((('take', 2),), (('grow', 'mean', 3),))
    """
    first = next((place for place, step in enumerate(steps) if step[0] not in _VIEWS), len(steps))
    return tuple(steps[:first]), tuple(steps[first:])


def _dequantize(numbers: torch.Tensor, scales: torch.Tensor, divisor: int, *block: int) -> torch.Tensor:
    """In float32: each number times its scale, and that over the divisor."""
    if len(block) != numbers.dim():
        raise ValueError(f"blocks of {len(block)} dimensions are of another tensor")
    if scales.dim() < 2:
        scales = scales.reshape(-1, *[1] * (numbers.dim() - 1))
    spread = scales.float()
    for axis, (size, length) in enumerate(zip(numbers.shape, block, strict=True)):
        if length:
            spread = spread.repeat_interleave(length, dim=axis).narrow(axis, 0, size)
    product = numbers.float() * spread.expand(numbers.shape)
    return product if divisor == 1 else product / divisor


def _stacked(tensors: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    if count < 1 or len(tensors) % count:
        raise ValueError(f"{len(tensors)} tensors are not {count} at a time")
    return [torch.stack(list(tensors[first : first + count])) for first in range(0, len(tensors), count)]


def _transpose(tensor: torch.Tensor, *axes: int) -> torch.Tensor:
    return tensor.transpose(*axes) if axes else tensor.t()


def _select(tensor: torch.Tensor, *rows: int) -> torch.Tensor:
    if not all(0 <= row < tensor.shape[0] for row in rows):
        raise ValueError(f"there are {tensor.shape[0]} rows")
    return tensor.index_select(0, torch.tensor(rows, device=tensor.device))


def _channels(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """As timm does it: one channel is the sum, more are the old ones in turn, scaled to keep the output."""
    there = tensor.shape[1]
    if count == 1:
        return tensor.float().sum(dim=1, keepdim=True).to(tensor.dtype)
    repeats = [1, math.ceil(count / there), *[1] * (tensor.dim() - 2)]
    whole = tensor.float().repeat(repeats).narrow(1, 0, count) * (there / float(count))
    return whole.to(tensor.dtype)


def _patch(tensor: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """FlexiViT (Beyer et al. 2023): the kernel whose output on a resized patch is nearest to the old."""
    if tensor.dim() != 4:
        raise ValueError("patches are of four dimensions")
    old = math.prod(tensor.shape[-2:])
    if old > _LARGEST_PATCH:
        raise ValueError(f"patches have at most {_LARGEST_PATCH:,} places")
    unit = torch.eye(old, device=tensor.device).reshape(old, 1, *tensor.shape[-2:])
    moved = _bicubic(unit, (height, width), antialias=True)
    matrix = moved.squeeze(1).permute(1, 2, 0).reshape(height * width, old)
    if tensor.is_meta:
        return tensor.new_empty((*tensor.shape[:-2], height, width))
    flat = tensor.reshape(*tensor.shape[:2], -1).float() @ torch.linalg.pinv(matrix)
    return flat.reshape(*tensor.shape[:2], height, width).to(tensor.dtype)


def _inflate(tensor: torch.Tensor, how: str, depth: int) -> torch.Tensor:
    """I3D (Carreira & Zisserman 2017): of a still video, what the image network makes of the image."""
    if how == "mean":
        return (tensor.unsqueeze(2).float() / depth).repeat(1, 1, depth, 1, 1).to(tensor.dtype)
    made = tensor.new_zeros((*tensor.shape[:2], depth, *tensor.shape[2:]))
    made[:, :, depth // 2] = tensor
    return made


def _bicubic(image: torch.Tensor, size: tuple[int, int], antialias: bool) -> torch.Tensor:
    made = functional.interpolate(
        image.float(), size=size, mode="bicubic", align_corners=False, antialias=antialias
    )
    return made.to(image.dtype)


def _resize_tokens(
    tensor: torch.Tensor, prefix: int, old_height: int, old_width: int, height: int, width: int
) -> torch.Tensor:
    channels = tensor.shape[-1]
    whole = tensor.reshape(1, -1, channels)
    image = whole[:, prefix:].reshape(1, old_height, old_width, channels).permute(0, 3, 1, 2)
    grid = _bicubic(image, (height, width), antialias=True).permute(0, 2, 3, 1).reshape(1, -1, channels)
    made = torch.cat([whole[:, :prefix], grid], dim=1)
    return made.reshape(*tensor.shape[:-2], -1, channels)


def _resize_line(tensor: torch.Tensor, axis: int, prefix: int, old: int, new: int) -> torch.Tensor:
    """Linear along one axis, ``interpolate(mode="linear", align_corners=False)``; the prefix stays."""
    if tensor.shape[axis] != prefix + old:
        raise ValueError(f"{tensor.shape[axis]} rows are not {prefix} and {old}")
    kept, line = tensor.split([prefix, old], dim=axis)
    channels_first = line.float().movedim(axis, -1)
    made = functional.interpolate(
        channels_first.reshape(1, -1, old), size=new, mode="linear", align_corners=False
    )
    whole = made.reshape(*channels_first.shape[:-1], new).movedim(-1, axis)
    return torch.cat([kept, whole.to(tensor.dtype)], dim=axis)


def _resize_table(
    tensor: torch.Tensor, extra: int, old_height: int, old_width: int, height: int, width: int
) -> torch.Tensor:
    rows = old_height * old_width
    image = tensor[:rows].transpose(1, 0).reshape(1, -1, old_height, old_width)
    grid = _bicubic(image, (height, width), antialias=False).reshape(-1, height * width).transpose(0, 1)
    if tensor.shape[0] != rows + extra:
        raise ValueError(f"{tensor.shape[0]} rows are not {old_height}×{old_width} and {extra}")
    return torch.cat([grid, tensor[rows:]])


def _resize_grid(tensor: torch.Tensor, axis: int, height: int, width: int) -> torch.Tensor:
    image = tensor if axis == 2 else tensor.permute(0, 3, 1, 2)
    made = _bicubic(image, (height, width), antialias=True)
    return made if axis == 2 else made.permute(0, 2, 3, 1)


def _grow(tensor: torch.Tensor, how: str, rows: int, *, draw: Draw) -> torch.Tensor:
    """New rows as transformers gives them: N(mean, 1e-9 · covariance), or the mean where that has no root."""
    there = tensor.shape[0]
    numbers = tensor.float()
    mean = numbers.mean(dim=0)
    shape = (rows - there, *tensor.shape[1:])
    added = mean.expand(shape)
    if how == "covariance" and tensor.dim() == 2 and not tensor.is_meta:
        centered = numbers - mean
        covariance = 1e-9 * (centered.T @ centered / there)
        root, failed = torch.linalg.cholesky_ex(covariance)
        if not failed.item():
            added = mean + (root @ draw(shape).unsqueeze(-1)).squeeze(-1)
    return torch.cat([tensor, added.to(tensor.dtype)])


# These narrow or turn a tensor, and do nothing to its numbers.
_VIEWS = ("transpose", "take", "narrow")
_STEPS: dict[Any, Callable[..., torch.Tensor]] = {
    "grow": _grow,
    "transpose": _transpose,
    "take": lambda tensor, index: tensor.select(0, index),
    "narrow": lambda tensor, start, rows, axis=0: tensor.narrow(axis, start, rows),
    "select": _select,
    "channels": _channels,
    "patch": _patch,
    "inflate": _inflate,
    "resize_tokens": _resize_tokens,
    "resize_line": _resize_line,
    "resize_table": _resize_table,
    "resize_grid": _resize_grid,
    "subset": subset,
    "copies": copies,
    "shared": functools.partial(copies, shared=True),
    "repeat": repeat,
    "pissa": functools.partial(low_rank, by="pissa"),
    "olora": functools.partial(low_rank, by="olora"),
}
