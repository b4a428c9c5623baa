"""Observing user code: which tensors its in-place operations write. Exact; values are not compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Kept per tensor: enough to recognize what was done, bounded for code that writes row by row.
_KEPT = 8


class Observer(TorchDispatchMode):
    """Notes the in-place operations on known tensors, views and ``.data`` of them included.

    Args:
        tensors: Name and tensor of each.
    """

    def __init__(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        super().__init__()
        self.paused = 0
        self.operations: dict[str, list[str]] = {}
        self._by_storage: dict[int, list[str]] = {}
        for name, tensor in tensors:
            self._by_storage.setdefault(_storage(tensor), []).append(name)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note it if it writes."""
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            self._note(func, args, kwargs or {})
        return result

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        schema = getattr(func, "_schema", None)
        if schema is None or not schema.is_mutable:
            return
        for index, argument in enumerate(schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            written = args[index] if index < len(args) else kwargs.get(argument.name)
            for tensor in written if isinstance(written, (list, tuple)) else (written,):
                if isinstance(tensor, torch.Tensor):
                    for name in self._by_storage.get(_storage(tensor), ()):
                        kept = self.operations.setdefault(name, [])
                        if len(kept) < _KEPT:
                            kept.append(schema.name.replace("::", "."))


def _storage(tensor: torch.Tensor) -> int:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return 0
