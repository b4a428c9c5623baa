"""A tensor's memory as an array of NumPy's, without a mark on the tensor."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_TYPES = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int16: np.int16,
    torch.int8: np.int8,
    torch.uint8: np.uint8,
    torch.uint16: np.uint16,
    torch.uint32: np.uint32,
    torch.uint64: np.uint64,
    torch.complex64: np.complex64,
    torch.complex128: np.complex128,
    torch.bool: np.bool_,
}


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The memory of a tensor of this machine, strides and all; writing to the array writes to the tensor.

    ``Tensor.numpy()`` would take from its storage, for good, that it can be resized: a parameter would not be
    what it was any more, and who frees such memory later (``storage.resize_(0)``, as sharding does) fails.

    Raises:
        RuntimeError: Its numbers do not lie in this machine's memory as they are.
        KeyError: NumPy has no such type.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing import as_array
        >>> tensor = torch.zeros(2, 2)
        >>> as_array(tensor)[0] = 1
        >>> tensor.tolist(), tensor.untyped_storage().resizable()
        ([[1.0, 1.0], [0.0, 0.0]], True)
    """
    if not tensor.is_cpu or tensor.layout is not torch.strided or tensor.is_neg() or tensor.is_conj():
        raise RuntimeError("This tensor's numbers do not lie in memory as they are.")
    shape, kind, size = tuple(tensor.shape), _TYPES[tensor.dtype], tensor.itemsize
    if tensor.numel() == 0:
        return np.empty(shape, kind)
    last = sum((each - 1) * stride for each, stride in zip(shape, tensor.stride(), strict=True))
    memory: Any = (ctypes.c_byte * ((last + 1) * size)).from_address(tensor.data_ptr())
    # The array holds the memory, and this the tensor.
    memory.tensor = tensor
    return np.ndarray(shape, kind, memory, strides=tuple(stride * size for stride in tensor.stride()))
