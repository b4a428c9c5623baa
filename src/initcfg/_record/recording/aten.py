"""What the recorder knows of ATen's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from initcfg._record.recording.content import Known
from initcfg.values import Constant, Normal, Uniform, Value

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""Types of tensors whose memory is handed out untouched."""

DRAWERS: dict[str, tuple[str, Value]] = {
    "aten::rand": ("uniform_", Uniform(0.0, 1.0)),
    "aten::rand_like": ("uniform_", Uniform(0.0, 1.0)),
    "aten::randn": ("normal_", Normal(0.0, 1.0)),
    "aten::randn_like": ("normal_", Normal(0.0, 1.0)),
}
COPIES = ("clone", "_to_copy")
COPY_OPTIONS = ("dtype", "memory_format", "device", "layout", "pin_memory", "non_blocking")
ELEMENTWISE = ("mul", "div", "add", "sub", "neg", "erfinv", "clamp", "clamp_min", "clamp_max")

OVERWRITING = (
    "copy",
    "fill",
    "zero",
    "uniform",
    "normal",
    "log_normal",
    "cauchy",
    "exponential",
    "geometric",
    "random",
)
"""In-place operations that do not look at what their target tracked."""

OTHERWISE = ("aten::_linalg_svd", "aten::_linalg_eigh")
"""Operations that also give vectors while a mode sees them, and other last bits with them than without."""

_RESHAPING = ("aten::set_", "aten::resize_", "aten::resize_as_", "aten::_resize_output_")


def constant(number: Any) -> Known | None:
    """A number as a value; None if it is none, or not known."""
    if isinstance(number, torch.Tensor):
        number = number.item() if number.dim() == 0 and not number.is_meta else None
    exact = isinstance(number, (bool, float)) or (isinstance(number, int) and abs(number) < 1 << 53)
    return Constant(float(number)) if exact else None


MAKERS: dict[str, Callable[[tuple[Any, ...]], Known | None]] = {
    "aten::empty": lambda args: None,
    "aten::empty_like": lambda args: None,
    "aten::empty_strided": lambda args: None,
    "aten::new_empty": lambda args: None,
    "aten::new_empty_strided": lambda args: None,
    "aten::zeros": lambda args: Constant(0.0),
    "aten::zeros_like": lambda args: Constant(0.0),
    "aten::new_zeros": lambda args: Constant(0.0),
    "aten::ones": lambda args: Constant(1.0),
    "aten::ones_like": lambda args: Constant(1.0),
    "aten::new_ones": lambda args: Constant(1.0),
    "aten::full": lambda args: constant(args[1]),
    "aten::full_like": lambda args: constant(args[1]),
    "aten::new_full": lambda args: constant(args[2]),
}
"""Operations that hand out memory without reading their arguments; what the new tensor holds."""


def filled_with(operation: str, numbers: tuple[Any, ...], kwargs: dict[str, Any]) -> Known | None:
    """What an in-place operation fills its target with; None if it has no name."""
    if operation == "zero":
        return Constant(0.0)
    if operation == "fill":
        return constant(numbers[0])
    if operation == "uniform":
        low, high = (*numbers, *(0.0, 1.0)[len(numbers) :])[:2]
        return Uniform(float(kwargs.get("from", low)), float(kwargs.get("to", high)))
    if operation == "normal":
        mean, std = (*numbers, *(0.0, 1.0)[len(numbers) :])[:2]
        return Normal(float(kwargs.get("mean", mean)), float(kwargs.get("std", std)))
    return None


def only_views(func: Any, schema: Any) -> bool:
    """Whether an operation gives views of its arguments, and neither reads nor writes a number."""
    if schema.is_mutable:
        return reshapes(func, schema)
    return schema.name == "aten::_unsafe_view" or any(each.alias_info is not None for each in schema.returns)


def reshapes(func: Any, schema: Any) -> bool:
    """Whether an operation changes what a tensor is a view of, and no number."""
    return torch.Tag.inplace_view in func.tags or schema.name in _RESHAPING


def draws(func: Any) -> bool:
    """Whether an operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())


def as_it_says(func: Any, args: tuple[Any, ...]) -> Any:
    """The operation under a schema that says what it writes.

    In training, batch normalization moves its running statistics, and the schema of the older form is silent.
    """
    if func is torch.ops.aten.native_batch_norm.default and args[5] and args[3] is not None:
        return torch.ops.aten._native_batch_norm_legit.default
    return func


def pointwise(func: Any) -> bool:
    """Whether each element of the result depends on one element of each argument."""
    return torch.Tag.pointwise in getattr(func, "tags", ())


def is_plain(tensor: Any) -> bool:
    """Whether a tensor is memory of the usual kind, which a record can speak of."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and not tensor.is_meta
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
    )


def disjoint(tensor: torch.Tensor) -> bool:
    """Whether no two elements share memory."""
    return all(stride or size <= 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
