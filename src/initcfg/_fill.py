"""Filling: a Value into a tensor, from the stream or from torch's own generator."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from initcfg import _random
from initcfg._values import Constant, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value
from initcfg.errors import ApplyError

# Elements that are drawn at once: bounds the extra memory.
BLOCK = 1 << 20


def fill_stream(tensor: torch.Tensor, value: Value, *, seed: int, name: str, part: int = 0) -> None:
    """Fill ``tensor`` with the values that (seed, name, index) determine."""
    if isinstance(value, Constant):
        tensor.fill_(value.val)
    elif isinstance(value, Parts):
        for index, piece in enumerate(torch.split(tensor, list(value.sizes), value.dim)):
            fill_stream(piece, value.values[index], seed=seed, name=name, part=part + index)
    elif isinstance(value, PaddingRow):
        fill_stream(tensor, value.value, seed=seed, name=name, part=part)
        tensor[value.index].zero_()
    else:
        key = _random.stream_key(seed, name, part)
        for start, block in _blocks(tensor):
            count = block.numel()
            drawn = torch.from_numpy(_draw(value, key, start, count, tensor.dtype))
            block.copy_(drawn.view(block.shape))


def _blocks(tensor: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """The tensor in row-major blocks: index of the first element, and a view."""
    if tensor.is_contiguous():
        flat = tensor.view(-1)
        for start in range(0, flat.numel(), BLOCK):
            yield start, flat[start : start + BLOCK]
    elif tensor.numel() <= BLOCK or tensor.dim() == 0:
        yield 0, tensor
    else:
        row = tensor[0].numel()
        if row <= BLOCK:
            rows = max(1, BLOCK // row)
            for first in range(0, tensor.shape[0], rows):
                yield first * row, tensor[first : first + rows]
        else:
            for first in range(tensor.shape[0]):
                for start, block in _blocks(tensor[first]):
                    yield first * row + start, block


def _draw(value: Value, key: int, start: int, count: int, dtype: torch.dtype) -> np.ndarray:
    kind = np.float64 if dtype == torch.float64 else np.float32
    if isinstance(value, Uniform):
        return _random.uniform(key, start, count, value.a, value.b, dtype=kind)
    if isinstance(value, Normal):
        return _random.normal(key, start, count, value.mean, value.std, dtype=kind)
    if isinstance(value, TruncNormal):
        return _random.trunc_normal(key, start, count, value.mean, value.std, value.a, value.b, dtype=kind)
    raise ApplyError(f"A value of kind {value.kind} cannot be drawn.")


def fill_torch(tensor: torch.Tensor, value: Value) -> None:
    """Fill ``tensor`` from torch's global generator, draw for draw as the original does."""
    if isinstance(value, Constant):
        tensor.fill_(value.val)
    elif isinstance(value, Uniform):
        tensor.uniform_(value.a, value.b)
    elif isinstance(value, Normal):
        tensor.normal_(value.mean, value.std)
    elif isinstance(value, TruncNormal):
        _trunc_normal(tensor, value)
    elif isinstance(value, Parts):
        for index, piece in enumerate(torch.split(tensor, list(value.sizes), value.dim)):
            fill_torch(piece, value.values[index])
    elif isinstance(value, PaddingRow):
        fill_torch(tensor, value.value)
        tensor[value.index].zero_()
    else:
        raise ApplyError(f"A value of kind {value.kind} cannot be drawn.")


def _trunc_normal(tensor: torch.Tensor, value: TruncNormal) -> None:
    """By the inverse of the distribution function, as MMEngine's own sampler: one draw an element."""
    mean, std, a, b = value.mean, value.std, value.a, value.b
    if std == 0:
        tensor.fill_(min(max(mean, a), b))
        return
    low = (1.0 + math.erf((a - mean) / std / math.sqrt(2.0))) / 2.0
    high = (1.0 + math.erf((b - mean) / std / math.sqrt(2.0))) / 2.0
    tensor.uniform_(2 * low - 1, 2 * high - 1)
    tensor.erfinv_()
    tensor.mul_(std * math.sqrt(2.0))
    tensor.add_(mean)
    tensor.clamp_(min=a, max=b)
