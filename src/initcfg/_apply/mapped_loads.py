"""Loading without copying: a tensor's memory becomes the file's own pages, where that changes no number.

The tensor stays the object that it is, so optimizers, ties and hooks know it. What cannot be mapped is
copied, and the ledger says why.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from initcfg._checkpoints import Stored
from initcfg._model import Names, is_sharded, sharing_memory
from initcfg._plan import Load
from initcfg._stream.writing import PLAIN_TENSORS
from initcfg.values import dtype_name


class MappedLoads:
    """Which tensors are mapped: none, those whose rule says so, or, under ``assign``, all that can be."""

    def __init__(self, assign: bool | None) -> None:
        self._assign = assign
        self._instead: str | None = None
        self._shared: set[int] = set()

    def prepare(self, names: Names, loads: Iterable[Load]) -> None:
        """Find the tensors that lie in one memory: who is given another is no view of it any more."""
        if not any(map(self.wants, loads)):
            return
        stored = (tensor for entry in (*names.parameters, *names.buffers) for tensor in entry.stored)
        plain = [each for each in stored if type(each) in PLAIN_TENSORS and not each.is_meta]
        self._shared |= sharing_memory(plain)

    def copy_all(self, why: str) -> None:
        """From here on, copy."""
        self._instead = why

    def wants(self, load: Load | None) -> bool:
        """Whether the tensors of a checkpoint are to be mapped."""
        return self._assign is not None and (self._assign or (load is not None and load.mapped))

    def put(self, tensor: torch.Tensor, stored: Stored) -> str | None:
        """Give a tensor the pages of the file as its memory; or say why it must be copied."""
        if (why := self._instead or self._why_not(tensor, stored)) is not None:
            return why
        found = stored.mapped()
        if isinstance(found, str):
            return found
        if not _alike(found, tensor):
            return "its elements lie in another order there"
        tensor.data = found
        return None

    def _why_not(self, tensor: torch.Tensor, stored: Stored) -> str | None:
        if is_sharded(tensor):
            return "it is sharded"
        if not tensor.is_cpu:
            return f"it is on {tensor.device}"
        if stored.info.dtype != dtype_name(tensor.dtype):
            return f"it is {stored.info.dtype} there"
        if type(tensor) not in PLAIN_TENSORS:
            return f"it is a {type(tensor).__name__}"
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        if not whole or tensor._base is not None or id(tensor) in self._shared:
            return "its memory is part of another's"
        if tensor.is_shared():
            return "its memory is shared among processes"
        return "it has no element" if not tensor.numel() else None


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape have their elements in the same order."""
    both = zip(one.shape, one.stride(), other.stride(), strict=True)
    return all(mine == theirs for size, mine, theirs in both if size > 1)
