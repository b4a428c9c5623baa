"""Where tensors come from, while hooks compute with them: seen by the operations that they go through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from initcfg._model.dispatch_modes import DispatchMode
from initcfg._model.in_place_writes import storage_of, tensors_in, written_tensors

# Operations that leave nothing of what a tensor held before.
_OVERWRITE = frozenset({"aten::copy_", "aten::fill_", "aten::zero_", "aten::normal_", "aten::uniform_"})
# Memory that was just made for numbers from Python.
_FRESH = "aten::lift_fresh"


class Region(NamedTuple):
    """What of which memory a tensor is."""

    storage: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def region(tensor: torch.Tensor) -> Region:
    """See :class:`Region`."""
    return Region(
        storage_of(tensor),
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        tensor.dtype,
    )


class Watched(DispatchMode):
    """Follows tensors through operations.

    Args:
        given: What a checkpoint has, by name. It is never changed: what an operation would write to is kept
            first, and put back by :meth:`put_back`.
        own: The stand-ins of a module's own tensors, by name.
    """

    def __init__(self, given: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.read: set[str] = set()
        self.random = False
        # By memory: the names in given, and those of own tensors, that its numbers come from.
        self._sources: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
        # By memory: what was copied into the whole of a stand-in, and by nothing changed since.
        self._copied: dict[int, torch.Tensor] = {}
        self._written: set[int] = set()
        self._given = {id(tensor): name for name, tensor in given.items()}
        self._regions = {region(tensor): name for name, tensor in reversed([*given.items()])}
        self._memory: dict[int, torch.Tensor] = {}
        self._before: dict[int, torch.UntypedStorage] = {}
        self._alive = [*given.values(), *own.values()]
        nothing: frozenset[str] = frozenset()
        for name, tensor in given.items():
            storage = storage_of(tensor)
            self._memory[storage] = tensor
            self._sources[storage] = self._sources.get(storage, (nothing, nothing))[0] | {name}, nothing
        for name, tensor in own.items():
            self._sources[storage_of(tensor)] = nothing, frozenset({name})

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note what it reads and writes."""
        kwargs = kwargs or {}
        written = list(written_tensors(func, args, kwargs))
        for tensor in written:
            self._keep(tensor)
        result = func(*args, **kwargs)
        name = getattr(getattr(func, "_schema", None), "name", "")
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        taken = [tensor for item in (*args, *kwargs.values()) for tensor in tensors_in(item)]
        sources = self._joined([each for each in taken if not any(each is other for other in written)])
        made = tensors_in(result)
        if not made:
            # What it gives is a number for Python, which may decide what comes next.
            self.read |= self._joined(taken)[1]
        for tensor in written:
            self._note_write(name, tensor, args, sources)
        inputs = {storage_of(each) for each in taken}
        for tensor in made:
            storage = storage_of(tensor)
            if name == _FRESH:
                self._sources.pop(storage, None)
            elif storage not in inputs:
                self._sources[storage] = sources
                self._copied.pop(storage, None)
        return result

    def _joined(self, tensors: list[torch.Tensor]) -> tuple[frozenset[str], frozenset[str]]:
        known = [self._sources[storage] for each in tensors if (storage := storage_of(each)) in self._sources]
        return frozenset().union(*(each[0] for each in known)), frozenset().union(
            *(each[1] for each in known)
        )

    def _keep(self, tensor: torch.Tensor) -> None:
        storage = storage_of(tensor)
        if storage in self._memory and storage not in self._before and not tensor.is_meta:
            self._before[storage] = self._memory[storage].untyped_storage().clone()

    def _note_write(
        self,
        name: str,
        tensor: torch.Tensor,
        args: tuple[Any, ...],
        sources: tuple[frozenset[str], frozenset[str]],
    ) -> None:
        storage = storage_of(tensor)
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        self._written.add(storage)
        self._copied.pop(storage, None)
        if name == "aten::copy_" and whole and len(args) > 1 and args[1].shape == tensor.shape:
            self._copied[storage] = args[1]
        if not (whole and name in _OVERWRITE):
            before = self._sources.get(storage, (frozenset(), frozenset()))
            sources = before[0] | sources[0], before[1] | sources[1]
        self._sources[storage] = sources

    def was_written(self, tensor: torch.Tensor) -> bool:
        """Whether something was written to the memory of a tensor."""
        return storage_of(tensor) in self._written

    def copied_into(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """What the whole of a tensor was copied from, if nothing was written to either since."""
        found = self._copied.get(storage_of(tensor))
        return None if found is None or self.was_written(found) else found

    def name_of(self, tensor: torch.Tensor) -> str | None:
        """The name of what was given that a tensor is, unchanged."""
        if self.was_written(tensor):
            return None
        return self._given.get(id(tensor)) or self._regions.get(region(tensor))

    def sources(self, tensor: torch.Tensor) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names in given, and those of own tensors, that a tensor's numbers come from."""
        given, own = self._sources.get(storage_of(tensor), ((), ()))
        return tuple(sorted(given)), tuple(sorted(own))

    def changed(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor as it is now, also after what was given is put back."""
        return tensor.detach().clone() if storage_of(tensor) in self._before else tensor.detach()

    def put_back(self) -> None:
        """What was given holds what it held."""
        for storage, before in self._before.items():
            self._memory[storage].untyped_storage().copy_(before)
        self._before.clear()
