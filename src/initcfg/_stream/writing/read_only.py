"""Memory that nobody may write, such as a file mapped for reading: who does so ends the process.

torch does not know: it warns once, when it makes a tensor of such an array, and forgets. Linux tells what
each stretch of a process's memory is for. On other systems, nothing is found here.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from contextlib import suppress

import torch

_MAPS = "/proc/self/maps"
# Its lines: where a stretch begins and ends, and whether it may be read, written and run.
_NOT_WRITABLE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) .-", re.MULTILINE)

READ_ONLY = (
    "lies in memory that can only be read, such as a file that is mapped so",
    "Give it memory of its own (tensor.clone()), or map the file as a private copy: np.memmap(mode='c').",
)
"""What such a tensor's problem is, and how to fix it."""


def read_only_among(tensors: Iterable[torch.Tensor]) -> set[int]:
    """The ids of those tensors that lie in memory which can only be read.

    Memory that torch allocated can be resized, and is not looked at; where there is other, the system is
    asked once for all. Objects of Python that are not to change (``bytes``) lie in memory like any other:
    a tensor of one is not found, nor is anything on systems other than Linux.

    Example:
        >>> import torch
        >>> from initcfg._stream.writing import read_only_among
        >>> read_only_among([torch.zeros(3)])
        set()
    """
    doubtful: list[tuple[int, int, int]] = []
    for tensor in tensors:
        # Tensors of some subclasses have no storage; what cannot be written at all is found elsewhere.
        with suppress(NotImplementedError, RuntimeError):
            if tensor.is_cpu and not tensor.untyped_storage().resizable() and tensor.numel():
                start = tensor.data_ptr()
                reach = sum(
                    (size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True)
                )
                doubtful.append((id(tensor), start, start + (reach + 1) * tensor.itemsize))
    if not doubtful:
        return set()
    starts, ends = _not_writable()
    found: set[int] = set()
    for each, start, stop in doubtful:
        # The first stretch that ends beyond the tensor's first byte.
        at = bisect.bisect_right(ends, start)
        if at < len(starts) and starts[at] < stop:
            found.add(each)
    return found


def _not_writable() -> tuple[list[int], list[int]]:
    """The stretches of this process's memory that cannot be written, in order: where they begin, and end."""
    try:
        with open(_MAPS, "rb") as file:
            found = _NOT_WRITABLE.findall(file.read())
    except OSError:
        return [], []
    return [int(start, 16) for start, _ in found], [int(stop, 16) for _, stop in found]
