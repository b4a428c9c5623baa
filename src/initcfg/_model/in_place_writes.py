"""In-place writes: which tensors an operation writes, by its schema, and which those of user code wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from initcfg._model.dispatch_modes import DispatchMode

# Per tensor: enough to recognize what was done, bounded for code that writes row by row.
_MOST_OPERATIONS = 8


_ours: ContextVar[bool] = ContextVar("initcfg_unobserved", default=False)


class unobserved:
    """Within this, operations are ours and not the user's code's: what a recorder does late, for instance."""

    def __enter__(self) -> None:
        self._token = _ours.set(True)

    def __exit__(self, *error: object) -> None:
        _ours.reset(self._token)


class Observer(DispatchMode):
    """Notes the in-place operations on known tensors, by :func:`names_by_storage`, and on views of them."""

    def __init__(self, names: Mapping[int, Sequence[str]]) -> None:
        super().__init__()
        self.paused = 0
        self.operations: dict[str, list[str]] = {}
        self._names = names
        self._handed_out: dict[str, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note what it writes."""
        result = func(*args, **(kwargs or {}))
        if not self.paused and not _ours.get():
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

    def note_handed_out(self, tensor: torch.Tensor) -> None:
        """Note that code gets hold of a tensor's memory, where it may write without an operation."""
        for name in self._names.get(storage_of(tensor), ()):
            if name not in self._handed_out:
                with _disable_current_modes():
                    storage = tensor.untyped_storage()
                    self._handed_out[name] = storage, storage.clone()

    def overwritten(self, name: str) -> None:
        """A rule has written a tensor: what the code did before shows no more."""
        self.operations.pop(name, None)
        if (handed := self._handed_out.get(name)) is not None:
            with _disable_current_modes():
                handed[1].copy_(handed[0])

    def look_at_memory(self) -> None:
        """Note what was written in memory that was handed out."""
        if not self._handed_out:
            return
        with _disable_current_modes():
            for name, (storage, before) in self._handed_out.items():
                if name not in self.operations and not torch.equal(_bytes(storage), _bytes(before)):
                    self.operations[name] = ["memory"]


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]


def written_tensors(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that an operation writes in place."""
    # By its address, since torch hashes operations in Python.
    known = _WRITTEN.get(id(func))
    if known is None:
        if len(_WRITTEN) >= _MOST_WRITTEN:
            _WRITTEN.clear()
        # The operation is held, so that no other gets its address.
        known = _WRITTEN[id(func)] = func, _written_arguments(func)
    for index, name in known[1]:
        yield from tensors_in(args[index] if index < len(args) else kwargs.get(name))


_WRITTEN: dict[int, tuple[Any, tuple[tuple[int, str], ...]]] = {}
_MOST_WRITTEN = 4096


def _written_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return ()
    return tuple(
        (index, argument.name)
        for index, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )


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
