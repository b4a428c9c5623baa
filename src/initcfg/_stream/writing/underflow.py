"""Gradual underflow: the smallest numbers of a type are kept, whatever the caller has told the processor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

_SMALLEST_NORMAL = 2.0**-1022


def keeps_small_numbers() -> bool:
    """Whether numbers below the smallest normal one stay what they are now."""
    # What makes such numbers zero, or takes them for zero, shows itself here.
    return _SMALLEST_NORMAL * 0.5 != 0.0


@contextlib.contextmanager
def gradual_underflow() -> Iterator[None]:
    """A context in which no small number becomes zero, as the stream is specified; then all is as before."""
    if keeps_small_numbers():
        yield
        return
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(True)
