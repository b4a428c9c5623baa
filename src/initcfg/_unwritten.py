"""Watching a model being built: which parameters nobody ever writes.

``nn.Parameter(torch.empty(...))`` that no constructor and no rule fills is whatever the memory held:
often small numbers, at times NaN. It shows in no log; it shows here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from initcfg._names import named_tensors

_ATTRIBUTE = "_initcfg_unwritten"
_EMPTY = ("aten::empty", "aten::new_empty")


class BuildWatch(TorchDispatchMode):
    """Notes, by storage, whether anything was written since it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._empty: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note what it makes or writes."""
        result = func(*args, **(kwargs or {}))
        schema = getattr(func, "_schema", None)
        if schema is None:
            return result
        if schema.name.startswith(_EMPTY):
            self._empty.update(_storages(result))
        elif schema.is_mutable or not any(each.alias_info is not None for each in schema.returns):
            # Anything else that makes a tensor fills it; what only views one changes nothing.
            self._empty.difference_update(_storages(result))
            self._empty.difference_update(_written(schema, args, kwargs or {}))
        return result

    def mark(self, model: nn.Module) -> None:
        """Leave a note on ``model``: the names of its parameters that nobody wrote."""
        names = tuple(
            entry.name
            for entry in named_tensors(model).parameters
            if not entry.tensor.is_meta and _storage(entry.tensor) in self._empty
        )
        if names:
            model.__dict__[_ATTRIBUTE] = names


def unwritten(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that nobody wrote, where the model was built under a watch."""
    return model.__dict__.get(_ATTRIBUTE, ())


def _written(schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    found: list[int] = []
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += _storages(args[index] if index < len(args) else kwargs.get(argument.name))
    return found


def _storages(made: Any) -> list[int]:
    items = made if isinstance(made, (list, tuple)) else (made,)
    return [_storage(item) for item in items if isinstance(item, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        # Sparse and wrapper tensors have none.
        return 0
