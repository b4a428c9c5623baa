"""Observing user code: which tensors its in-place operations write. Exact; values are not compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Kept per tensor: enough to recognize what was done, bounded for code that writes row by row.
_KEPT = 8


class Observer(TorchDispatchMode):
    """Notes the in-place operations on known tensors, views and ``.data`` of them included.

    Args:
        storages: What :func:`by_storage` made of the tensors.
    """

    def __init__(self, storages: Mapping[int, Sequence[str]]) -> None:
        super().__init__()
        self.paused = 0
        self.operations: dict[str, list[str]] = {}
        self._by_storage = storages

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note it if it writes."""
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            self._note(func, args, kwargs or {})
        return result

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for tensor in written(func, args, kwargs):
            self.note(tensor, func._schema.name.replace("::", "."))

    def note(self, tensor: torch.Tensor, operation: str) -> None:
        """Note a write, also one that was seen elsewhere."""
        if not self.paused:
            for name in self._by_storage.get(storage_of(tensor), ()):
                kept = self.operations.setdefault(name, [])
                if len(kept) < _KEPT:
                    kept.append(operation)


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that an operation writes in place, by its schema."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found = args[index] if index < len(args) else kwargs.get(argument.name)
            yield from tensors_in(found)


def tensors_in(found: Any) -> list[torch.Tensor]:
    """The tensors in an argument or a result: one, or a list of them."""
    items = found if isinstance(found, (list, tuple)) else (found,)
    return [item for item in items if isinstance(item, torch.Tensor)]


def by_storage(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[int, list[str]]:
    """The names of tensors by the storage that holds them."""
    found: dict[int, list[str]] = {}
    for name, tensor in tensors:
        found.setdefault(storage_of(tensor), []).append(name)
    return found


def storage_of(tensor: torch.Tensor) -> int:
    """What stands for a tensor's memory; views share it, and sparse tensors have none (0)."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return 0
