"""Filling from torch's own generator, draw for draw as the original does."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch

from initcfg._stream.writing.formula import Sources, evaluate
from initcfg._stream.writing.whole_values import whole_torch
from initcfg.errors import ApplyError
from initcfg.values import (
    Constant,
    Dirac,
    Eye,
    Formula,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
)

_GLOBAL = Sources(
    lambda tensor, value, source, part: fill_torch(tensor, value), lambda source, part: nullcontext()
)


def fill_torch(tensor: torch.Tensor, value: Value) -> None:
    """Fill ``tensor`` from torch's global generator."""
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
    elif isinstance(value, (Orthogonal, Sparse, Dirac, Eye)):
        whole_torch(tensor, value)
    elif isinstance(value, Formula):
        tensor.copy_(evaluate(value, _GLOBAL, tensor))
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
