"""Whereabouts: which tensor stands under each name, where its memory lies, and what code changed of that.

Code need not write in place. ``p.data = t``, ``set_``, ``m.weight = nn.Parameter(t)``, ``load_state_dict``
with ``assign=True`` and a new submodule all put other memory, or another tensor, under a name; no operation
tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from initcfg._model.contents import modules_of


class Place(NamedTuple):
    """A tensor, and where its memory lies; both held, so that no other gets their address."""

    tensor: torch.Tensor
    storage: torch.UntypedStorage | None
    region: tuple[object, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.tensor is other.tensor and self.has_memory_of(other)

    __hash__ = None  # type: ignore[assignment]

    def has_memory_of(self, other: Place) -> bool:
        """Whether both lie at the same place, in the same way."""
        address, there = (0 if each.storage is None else each.storage._cdata for each in (self, other))
        return address == there and self.region == other.region


def place_of(tensor: torch.Tensor) -> Place:
    """Where a tensor lies now."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        # A sparse tensor, say, has no storage.
        return Place(tensor, None, (tuple(tensor.shape), tensor.dtype))
    region = (tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype, tensor.device)
    return Place(tensor, storage, region)


class Watch:
    """Tells whether a module, or one below it, has other tensors, or other memory in them, than it had."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._seen, self._held = self._look()

    def changed(self) -> bool:
        """Whether anything changed since this was asked, or the watch was set."""
        before, held = self._seen, self._held
        self._seen, self._held = self._look()
        # Until here what was there had its addresses to itself.
        del held
        return before != self._seen

    def _look(self) -> tuple[list[tuple[object, ...]], list[object]]:
        """What stands where, as numbers that can be compared; and what they are the addresses of."""
        seen: list[tuple[object, ...]] = []
        held: list[object] = []
        for module in modules_of(self._module):
            for container in (module._parameters, module._buffers):
                for name, tensor in container.items():
                    if tensor is None:
                        continue
                    try:
                        storage = tensor.untyped_storage()
                    except (NotImplementedError, RuntimeError):
                        # A sparse tensor, say, has no storage.
                        seen.append((id(module), name, id(tensor), tensor.shape, tensor.dtype))
                        held.append(tensor)
                        continue
                    address, region = storage._cdata, (tensor.shape, tensor.stride(), tensor.storage_offset())
                    kind = tensor.dtype, tensor.device
                    seen.append((id(module), name, id(tensor), address, *region, *kind))
                    held += tensor, storage
        return seen, held


def places_of(stored: Iterable[tuple[str, torch.Tensor]]) -> dict[str, list[Place]]:
    """Where the tensors of a model lie, by canonical name."""
    found: dict[str, list[Place]] = {}
    for name, tensor in stored:
        found.setdefault(name, []).append(place_of(tensor))
    return found


def changes(before: Mapping[str, list[Place]], now: Mapping[str, list[Place]]) -> dict[str, str]:
    """What became of the names that do not mean what they meant: ``"gone"``, ``"new"`` or ``"data"``.

    That is: there is no tensor any more, there is another tensor, or the same one with other memory.
    """
    found = {name: "gone" for name in before if name not in now}
    for name, places in now.items():
        if name not in before or [id(each.tensor) for each in places] != [
            id(each.tensor) for each in before[name]
        ]:
            found[name] = "new"
        elif places != before[name]:
            found[name] = "data"
    return found


def renames(
    before: Mapping[str, list[Place]], now: Mapping[str, list[Place]], found: Mapping[str, str]
) -> dict[str, str]:
    """Of these changes, the new names of memory that was there under a name that is gone, with that name."""
    gone = [name for name, change in found.items() if change == "gone"]
    return {
        name: old
        for name, change in found.items()
        if change == "new"
        for old in gone
        if len(before[old]) == len(now[name]) == 1 and before[old][0].has_memory_of(now[name][0])
    }
