"""Which tensors have memory in common: those of one storage, and of two storages over one memory.

Two tensors of one NumPy array have a storage each, and who writes to one of them changes the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add

import torch

from initcfg._model.in_place_writes import storage_of


def sharing_memory(tensors: Iterable[torch.Tensor]) -> set[int]:
    """The ids of those among some tensors whose storage has a byte of another's in it.

    Example:
        >>> import numpy as np
        >>> array = np.zeros(8)
        >>> first, second, alone = torch.from_numpy(array), torch.from_numpy(array[4:]), torch.zeros(8)
        >>> sharing_memory([first, second, alone]) == {id(first), id(second)}
        True
    """
    owners: dict[int, set[int]] = {}
    ranges: list[tuple[str, int, int, int]] = []
    for tensor in tensors:
        if not (storage := storage_of(tensor)):
            continue
        if storage not in owners:
            start, stop = memory_range(tensor)
            if 0 < start < stop:
                ranges.append((str(tensor.device), start, stop, storage))
        owners.setdefault(storage, set()).add(id(tensor))
    shared = {storage for storage, found in owners.items() if len(found) > 1}
    ranges.sort()
    # Of those before, the one that reaches furthest.
    place, reach, owner = "", 0, 0
    for device, start, stop, storage in ranges:
        if device == place and start < reach:
            shared |= {owner, storage}
        if device != place or stop > reach:
            place, reach, owner = device, stop, storage
    return {each for storage in shared for each in owners[storage]}


def memory_range(tensor: torch.Tensor) -> tuple[int, int]:
    """The addresses of a tensor's storage: the first, and one beyond the last; 0 where it has none."""
    try:
        storage = tensor.untyped_storage()
        start = storage.data_ptr()
        return start, start + storage.nbytes()
    except (NotImplementedError, RuntimeError):
        return 0, 0


def memory_ranges(tensors: Sequence[torch.Tensor]) -> tuple[list[int], list[int]]:
    """The same of many tensors: all that are first, and all that are one beyond the last.

    Example:
        >>> from initcfg._model.shared_memory import memory_range, memory_ranges
        >>> tensors = [torch.zeros(4), torch.zeros(2, device="meta")]
        >>> list(zip(*memory_ranges(tensors))) == [memory_range(each) for each in tensors]
        True
    """
    try:
        storages = list(map(torch.Tensor.untyped_storage, tensors))
        starts = list(map(torch.UntypedStorage.data_ptr, storages))
        return starts, list(map(add, starts, map(torch.UntypedStorage.nbytes, storages)))
    except (NotImplementedError, RuntimeError):
        found = [memory_range(tensor) for tensor in tensors]
        return [start for start, _ in found], [stop for _, stop in found]
