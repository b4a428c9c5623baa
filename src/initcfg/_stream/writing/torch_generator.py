"""Torch's own generators: seeded for other people's code, and drawn from as the original does."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from contextlib import nullcontext

import torch

from initcfg import values
from initcfg._stream.bits import stream_key
from initcfg._stream.writing.formula import RandomSource, evaluate
from initcfg._stream.writing.whole_values import WHOLE, whole_torch
from initcfg.errors import ApplyError
from initcfg.values import Value

_GLOBAL = RandomSource(
    lambda tensor, value, source, part: fill_torch(tensor, value),
    lambda source, part: nullcontext(),
)
# The generators are the process's: two threads cannot both have them.
lock = threading.RLock()
"""Held while they are another's."""


@contextlib.contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Within this, torch's default generators depend on ``seed`` and ``name``; afterwards on nothing here."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with lock, torch.random.fork_rng(devices):
        # Not torch.manual_seed, which reaches devices that were not forked.
        for generator in (torch.default_generator, *map(torch.cuda.default_generators.__getitem__, devices)):
            generator.manual_seed(stream_key(seed, name + "()") >> 1)
        yield


def fill_torch(tensor: torch.Tensor, value: Value) -> None:
    """Fill ``tensor`` from torch's global generator."""
    if isinstance(value, values.Constant):
        tensor.fill_(value.val)
    elif isinstance(value, values.Uniform):
        tensor.uniform_(value.a, value.b)
    elif isinstance(value, values.Normal):
        tensor.normal_(value.mean, value.std)
    elif isinstance(value, values.TruncNormal):
        _trunc_normal(tensor, value)
    elif isinstance(value, values.Parts):
        for piece, each in zip(torch.split(tensor, list(value.sizes), value.dim), value.values, strict=True):
            fill_torch(piece, each)
    elif isinstance(value, values.PaddingRow):
        fill_torch(tensor, value.value)
        tensor[value.index].zero_()
    elif isinstance(value, WHOLE):
        whole_torch(tensor, value)
    elif isinstance(value, values.Formula):
        tensor.copy_(evaluate(value, _GLOBAL, tensor))
    else:
        raise ApplyError(f"A value of kind {value.kind} cannot be drawn.")


def _trunc_normal(tensor: torch.Tensor, value: values.TruncNormal) -> None:
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
