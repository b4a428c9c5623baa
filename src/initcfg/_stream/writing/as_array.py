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
    """The memory of a tensor of this machine, in one run; writing to the array writes to the tensor.

    ``Tensor.numpy()`` would take from its storage, for good, that it can be resized: a parameter would not be
    what it was any more, and who frees such memory later (``storage.resize_(0)``, as sharding does) fails.

    Raises:
        RuntimeError: It does not lie there so.
        KeyError: NumPy has no such type.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing import as_array
        >>> tensor = torch.zeros(2, 2)
        >>> as_array(tensor)[0] = 1
        >>> tensor.tolist(), tensor.untyped_storage().resizable()
        ([[1.0, 1.0], [0.0, 0.0]], True)
    """
    if not tensor.is_cpu or not tensor.is_contiguous() or tensor.is_neg() or tensor.is_conj():
        raise RuntimeError("This tensor's numbers do not lie in memory as they are, in one run.")
    if tensor.numel() == 0:
        return np.empty(tensor.shape, _TYPES[tensor.dtype])
    memory = (ctypes.c_byte * (tensor.numel() * tensor.itemsize)).from_address(tensor.data_ptr())
    # The array holds the memory, and this the tensor.
    memory.tensor = tensor  # type: ignore[attr-defined]
    return np.frombuffer(memory, dtype=_TYPES[tensor.dtype]).reshape(tensor.shape)
