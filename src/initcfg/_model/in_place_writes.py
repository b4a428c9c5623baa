"""In-place writes: which tensors an operation writes, by its schema, and which those of user code wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Per tensor: enough to recognize what was done, bounded for code that writes row by row.
_MOST_OPERATIONS = 8


class Observer(TorchDispatchMode):
    """Notes the in-place operations on known tensors, by :func:`names_by_storage`, and on views of them."""

    def __init__(self, names: Mapping[int, Sequence[str]]) -> None:
        super().__init__()
        self.paused = 0
        self.operations: dict[str, list[str]] = {}
        self._names = names

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note what it writes."""
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            for tensor in written_tensors(func, args, kwargs or {}):
                self.note(tensor, func._schema.name.replace("::", "."))
        return result

    def note(self, tensor: torch.Tensor, operation: str) -> None:
        """Note a write, also one that was seen elsewhere."""
        if not self.paused:
            for name in self._names.get(storage_of(tensor), ()):
                operations = self.operations.setdefault(name, [])
                if len(operations) < _MOST_OPERATIONS:
                    operations.append(operation)


def written_tensors(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that an operation writes in place."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors_in(args[index] if index < len(args) else kwargs.get(argument.name))


def tensors_in(argument: Any) -> list[torch.Tensor]:
    """The tensors in an argument or a result: one, or a list of them."""
    items = argument if isinstance(argument, (list, tuple)) else (argument,)
    return [item for item in items if isinstance(item, torch.Tensor)]


def names_by_storage(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[int, list[str]]:
    """The names of tensors by the storage that holds them."""
    names: dict[int, list[str]] = {}
    for name, tensor in tensors:
        names.setdefault(storage_of(tensor), []).append(name)
    return names


def storage_of(tensor: torch.Tensor) -> int:
    """A number for a tensor's memory: views share it, and sparse tensors have none (0)."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return 0
