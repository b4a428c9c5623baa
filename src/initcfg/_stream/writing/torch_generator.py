"""Torch's own generators: seeded for other people's code, and drawn from as torch or the original does."""

from __future__ import annotations

import contextlib
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import ContextVar

import torch
from torch.nn import init

from initcfg import values
from initcfg._stream.bits import stream_key
from initcfg._stream.writing.formula import evaluate
from initcfg._stream.writing.formula_machine import RandomSource
from initcfg._stream.writing.whole_values import WHOLE, whole_torch
from initcfg.errors import ApplyError
from initcfg.values import Value

_GLOBAL = RandomSource(
    lambda tensor, value, source, part: fill_torch(tensor, value),
    lambda source, part: nullcontext(),
)


_fills_seeded: list[Callable[[torch.Tensor, values.Seeded], None]] = []


def fills_seeded(fill: Callable[[torch.Tensor, values.Seeded], None]) -> None:
    """Register who fills tensors by the seed that stands in a value: the stream's writer, above this."""
    _fills_seeded.append(fill)


class _Lock:
    """A lock of the generators, which are the process's: two threads cannot both have them.

    A thread that works for the one that has it, and has taken over its context, has it too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._had: ContextVar[list[int] | None] = ContextVar("initcfg_generators", default=None)

    def __enter__(self) -> None:
        depth = self._had.get()
        if not depth:
            self._lock.acquire()
            depth = []
            self._had.set(depth)
        depth.append(len(depth) + 1)

    def __exit__(self, *_: object) -> None:
        depth = self._had.get()
        assert depth
        depth.pop()
        if not depth:
            self._lock.release()


lock = _Lock()
"""Held while torch's generators are another's."""


@contextlib.contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Within this, torch's default generators depend on ``seed`` and ``name``; afterwards on nothing here."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    # Not torch.manual_seed, which reaches other devices too; nor torch's functions for states: where code is
    # recorded they count as that code's own, which then seems to put a state back and to draw the same again.
    generators = [torch.default_generator, *map(torch.cuda.default_generators.__getitem__, devices)]
    with lock:
        states = [each.get_state() for each in generators]
        try:
            for generator in generators:
                generator.manual_seed(stream_key(seed, name + "()") >> 1)
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def fill_torch(tensor: torch.Tensor, value: Value, *, original: bool = False) -> None:
    """Fill ``tensor`` from torch's global generator.

    The numbers are those of the functions of ``torch.nn.init``; with ``original`` those of MMEngine, which
    has a truncated normal of its own.
    """
    if isinstance(value, values.Constant):
        tensor.fill_(value.val)
    elif isinstance(value, values.Uniform):
        tensor.uniform_(value.a, value.b)
    elif isinstance(value, values.Normal):
        tensor.normal_(value.mean, value.std)
    elif isinstance(value, values.TruncNormal):
        _trunc_normal(tensor, value, original)
    elif isinstance(value, values.Parts):
        for piece, each in zip(torch.split(tensor, list(value.sizes), value.dim), value.values, strict=True):
            fill_torch(piece, each, original=original)
    elif isinstance(value, values.PaddingRow):
        fill_torch(tensor, value.value, original=original)
        tensor[value.index].zero_()
    elif isinstance(value, values.Repeat):
        inner = tensor.narrow(value.dim, 0, tensor.shape[value.dim] // value.times).clone()
        fill_torch(inner, value.value, original=original)
        tensor.copy_(inner.repeat_interleave(value.times, value.dim))
    elif isinstance(value, values.Scaled):
        fill_torch(tensor, value.value, original=original)
        shape = [-1, *[1] * (tensor.dim() - value.axis - 1)]
        tensor.mul_(torch.tensor(value.factors, dtype=tensor.dtype, device=tensor.device).view(shape))
    elif isinstance(value, values.Numbers):
        tensor.copy_(torch.tensor(value.numbers, dtype=torch.float64, device="cpu").view(tensor.shape))
    elif isinstance(value, values.Seeded):
        # What no generator decides.
        for fill in _fills_seeded:
            fill(tensor, value)
    elif isinstance(value, WHOLE):
        whole_torch(tensor, value)
    elif isinstance(value, values.Formula):
        tensor.copy_(evaluate(value, _GLOBAL, tensor.shape, tensor))
    else:
        raise ApplyError(f"A value of kind {value.kind} cannot be drawn.")


def _trunc_normal(tensor: torch.Tensor, value: values.TruncNormal, original: bool) -> None:
    mean, std, a, b = value.mean, value.std, value.a, value.b
    if std == 0:
        tensor.fill_(min(max(mean, a), b))
    elif original:
        _by_inverse(tensor, mean, std, a, b)
    else:
        with warnings.catch_warnings():
            # torch warns of bounds far from the mean. The plan has shown them, and the numbers are right.
            warnings.simplefilter("ignore", UserWarning)
            init.trunc_normal_(tensor, mean, std, *_finite_bounds(mean, std, a, b))


def _finite_bounds(mean: float, std: float, a: float, b: float) -> tuple[float, float]:
    """The bounds, each infinite one replaced by a finite one beyond which no draw lies.

    In a far tail torch proposes numbers evenly between the bounds, which needs an end. It lies where the
    density has fallen by exp(-40) since the other bound, or the mean.
    """

    def end(start: float) -> float:
        alpha = (start - mean) / std
        root = math.hypot(alpha, math.sqrt(80.0))
        return std * (80.0 / (alpha + root) if alpha > 0.0 else root - alpha)

    if math.isinf(b):
        start = mean if math.isinf(a) else a
        b = start + end(start)
    if math.isinf(a):
        # As seen in the mirror.
        a = b - end(2 * mean - b)
    return a, b


def _by_inverse(tensor: torch.Tensor, mean: float, std: float, a: float, b: float) -> None:
    """By the inverse of the distribution function, as MMEngine's own sampler: one draw an element."""
    low = (1.0 + math.erf((a - mean) / std / math.sqrt(2.0))) / 2.0
    high = (1.0 + math.erf((b - mean) / std / math.sqrt(2.0))) / 2.0
    tensor.uniform_(2 * low - 1, 2 * high - 1)
    tensor.erfinv_()
    tensor.mul_(std * math.sqrt(2.0))
    tensor.add_(mean)
    tensor.clamp_(min=a, max=b)
