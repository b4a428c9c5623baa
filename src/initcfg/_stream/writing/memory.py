"""Which tensors have memory that may be written."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, le

import torch

from initcfg._stream.writing.read_only import read_only_among
from initcfg.errors import TensorError

PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
"""The types of tensors that own their memory; a subclass may not."""


DRAWN = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""The types that the kernel and the reference write themselves."""
_STRIDED = torch.strided
_facts = attrgetter("layout", "is_cpu", "dtype", "is_nested")
# Those of what may be plain.
_ABLE = {(_STRIDED, True, dtype, False) for dtype in DRAWN}


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is memory of this machine in one run, which everything may write."""
    return (
        type(tensor) in PLAIN_TENSORS
        and tensor.layout is _STRIDED
        and tensor.is_cpu
        and tensor.dtype in DRAWN
        and not (tensor.is_nested or tensor.is_inference() or tensor.is_neg())
        and tensor.is_contiguous()
        # Storages can be resized below their tensors.
        and 0 < tensor.nbytes <= tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.itemsize
    )


def plain_among(tensors: Sequence[torch.Tensor]) -> set[int]:
    """The ids of those tensors that are plain, and not read-only; fact by fact: there may be thousands.

    Example:
        >>> from initcfg._stream.writing.memory import plain_among
        >>> plain, view = torch.zeros(2, 3), torch.zeros(2, 3).t()
        >>> plain_among([plain, view]) == {id(plain)}
        True
    """
    of = torch.Tensor
    if not {*map(type, tensors)} <= {*PLAIN_TENSORS}:
        tensors = [tensor for tensor in tensors if type(tensor) in PLAIN_TENSORS]
    if not {*map(_facts, tensors)} <= _ABLE:
        tensors = [tensor for tensor in tensors if _facts(tensor) in _ABLE]
    if not tensors:
        return set()
    if not (any(map(of.is_inference, tensors)) or any(map(of.is_neg, tensors))):
        sizes, offsets = [tensor.nbytes for tensor in tensors], list(map(of.storage_offset, tensors))
        storages = list(map(of.untyped_storage, tensors))
        there = map(torch.UntypedStorage.nbytes, storages)
        in_place = not any(offsets) and all(map(of.is_contiguous, tensors))
        if in_place and min(sizes) > 0 and all(map(le, sizes, there)):
            # Memory that torch allocated can be resized, and written.
            own = all(map(torch.UntypedStorage.resizable, storages))
            return {*map(id, tensors)} - (set() if own else read_only_among(tensors))
    # Some are not, or are views.
    return {id(tensor) for tensor in tensors if is_plain(tensor)} - read_only_among(tensors)


def memory_problem(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Why a tensor's memory cannot be written, and how to fix it; None if it can."""
    if is_plain(tensor):
        return None
    if tensor.is_meta:
        return (
            "is on the meta device, where there is nothing to write",
            "Call initcfg.materialize(model, device=...).",
        )
    if (problem := form_problem(tensor)) is not None:
        return problem
    if tensor.is_inference():
        return "was made under torch.inference_mode", "Build the model outside of it."
    if _has_no_storage(tensor):
        return f"is a {type(tensor).__name__} without memory of its own", "Initialize the plain tensor."
    if not within_storage(tensor):
        return "has had its memory taken away (its storage was resized)", "Give it back: storage.resize_()."
    if _overlaps_itself(tensor):
        return "is an expanded view, whose elements share memory", "Make it contiguous."
    if tensor.is_conj() or tensor.is_neg():
        return "is a lazy conjugate or negative", "Resolve it first."
    return None


def form_problem(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Why a tensor of this form cannot be written, whether it has memory or not."""
    if tensor.is_nested or type(tensor).__name__ in ("FakeTensor", "FunctionalTensor"):
        return f"is a {type(tensor).__name__}", "Build the model with real tensors."
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "is sparse or quantized", "Initialize the dense floating-point model, then convert it."
    return None


def check_memory(tensor: torch.Tensor) -> None:
    """Raise TensorError unless the tensor's memory may be written.

    Read-only memory is not seen here: ``read_only_among`` looks for it, once for many tensors.
    """
    problem = memory_problem(tensor)
    if problem is not None:
        raise TensorError(
            f"A tensor cannot be written: it {problem[0]}.", shape=tuple(tensor.shape), fix=problem[1]
        )


def within_storage(tensor: torch.Tensor) -> bool:
    """Whether every element of a strided tensor lies in its storage, which others may resize."""
    reach = tensor.numel()
    if reach == 0:
        return True
    if not tensor.is_contiguous():
        places = zip(tensor.shape, tensor.stride(), strict=True)
        reach = 1 + sum((size - 1) * stride for size, stride in places)
    needed = (tensor.storage_offset() + reach) * tensor.element_size()
    return tensor.untyped_storage().nbytes() >= needed


def _has_no_storage(tensor: torch.Tensor) -> bool:
    if type(tensor) in PLAIN_TENSORS:
        return False
    try:
        return tensor.numel() > 0 and tensor.untyped_storage().data_ptr() == 0
    except (NotImplementedError, RuntimeError):
        return True


def _overlaps_itself(tensor: torch.Tensor) -> bool:
    """Whether two elements may share memory: in order of their strides, the dimensions must nest."""
    if tensor.is_contiguous() or tensor.numel() == 0:
        return False
    reach = 0
    for stride, size in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
