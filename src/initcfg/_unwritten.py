"""Watching a model being built: which parameters nobody ever writes.

``nn.Parameter(torch.empty(...))`` that no constructor and no rule fills is whatever the memory held:
often small numbers, at times NaN. It shows in no log; it shows here.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from initcfg._names import named_tensors
from initcfg._observe import storage_of, tensors_in, written

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
        made = {storage_of(tensor) for tensor in tensors_in(result)}
        if schema.name.startswith(_EMPTY):
            self._empty |= made
        elif schema.is_mutable or not any(each.alias_info is not None for each in schema.returns):
            # Anything else that makes a tensor fills it; what only views one changes nothing.
            self._empty -= made
            self._empty -= {storage_of(tensor) for tensor in written(func, args, kwargs or {})}
        return result

    def mark(self, model: nn.Module) -> None:
        """Leave a note on ``model``: the names of its parameters that nobody wrote."""
        names = tuple(
            entry.name
            for entry in named_tensors(model).parameters
            if not entry.tensor.is_meta and storage_of(entry.tensor) in self._empty
        )
        if names:
            model.__dict__[_ATTRIBUTE] = names


def unwritten(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that nobody wrote, where the model was built under a watch."""
    return model.__dict__.get(_ATTRIBUTE, ())
