"""Functions of libraries that make a truncated normal of a uniform tensor, recorded as the one write.

They are copies of an older torch.nn.init: uniform, erfinv, times, plus, clamp. Operation by operation their
record says the same, for five times the work.
"""

from __future__ import annotations

import builtins
import math
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from initcfg._model import DispatchMode
from initcfg._record.recording.content import Known, after
from initcfg.values import TruncNormal, Uniform

OPERATIONS = ("uniform_", "erfinv_", "mul_", "add_", "clamp_")
"""What each of them does to the tensor, in order."""
_HOMES = (
    ("mmengine.model.weight_init", "_no_grad_trunc_normal_"),
    ("mmcv.cnn.utils.weight_init", "_no_grad_trunc_normal_"),
    ("timm.layers.weight_init", "_trunc_normal_"),
)


# Numbers that each have a place in what the operations are given.
_TRIED = (0.25, 0.5, -1.0, 1.0)


def erfinv_functions() -> Iterator[FunctionType]:
    """Those of the libraries that are loaded, as long as they do these operations and no others."""
    for home, name in _HOMES:
        function = getattr(sys.modules.get(home), name, None)
        if (
            isinstance(function, FunctionType)
            and function.__closure__ is None
            and _as_meant(function.__code__)
        ):
            yield function


class _Operations(DispatchMode):
    """Notes operations in place, and does none."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.done.append((func._schema.name, (*args[1:], *(kwargs or {}).values())))
        return args[0]


@lru_cache(maxsize=64)
def _as_meant(code: CodeType) -> bool:
    """Whether a function with this code does the five operations, found by trying it on two elements."""
    names = {"__builtins__": builtins, "math": math, "torch": torch, "warnings": warnings}
    tried = FunctionType(code, names)
    mean, std, a, b = _TRIED
    with _disable_current_modes(), torch.no_grad():
        tensor = torch.zeros(2, device="cpu")
        with _Operations() as operations:
            try:
                tried(tensor, *_TRIED)
            except Exception:
                return False
    low, high = _ends(*_TRIED)
    numbers = (2 * low - 1, 2 * high - 1), (), (std * math.sqrt(2.0),), (mean,), (a, b)
    wanted = [(f"aten::{name}", each) for name, each in zip(OPERATIONS, numbers, strict=True)]
    return operations.done == wanted


def _ends(mean: float, std: float, a: float, b: float) -> tuple[float, float]:
    """Which part of the standard normal lies below each end."""
    low, high = ((1.0 + math.erf((end - mean) / std / math.sqrt(2.0))) / 2.0 for end in (a, b))
    return low, high


@lru_cache(maxsize=256)
def erfinv_value(mean: float, std: float, a: float, b: float) -> TruncNormal | None:
    """What such a function fills a tensor with, as its operations say it; None where they have no name.

    Example:
        >>> from initcfg._record.recording.erfinv_functions import erfinv_value
        >>> erfinv_value(0.0, 1.0, -2.0, 2.0)
        TruncNormal(mean=0.0, std=1.0, a=-2.0, b=2.0)
    """
    if std <= 0 or mean < a - 2 * std or mean > b + 2 * std:
        # It warns, or fails, and says so itself.
        return None
    low, high = _ends(mean, std, a, b)
    known: Known | None = Uniform(2 * low - 1, 2 * high - 1)
    steps = (("erfinv", ()), ("mul", (std * math.sqrt(2.0),)), ("add", (mean,)), ("clamp", (a, b)))
    for operation, numbers in steps:
        known = None if known is None else after(operation, known, torch.float32, numbers, {})
    return known if isinstance(known, TruncNormal) else None
