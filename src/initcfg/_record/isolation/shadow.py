"""A model that exists, while code runs over it: its tensors have other memory, and nothing stays.

Each parameter and buffer gets memory that nobody has touched in the place of its own. Afterwards the model is
as it was: tensors, modules and attributes, also those that code replaced.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from initcfg._model import (
    Names,
    buffers_of,
    is_sharded,
    modules_of,
    named_tensors,
    parameters_of,
    replace_tensor,
)
from initcfg._record.recording import is_plain, region_of, tensor_at
from initcfg.errors import TensorError

_CONTAINERS = (dict, OrderedDict, set, list)
# Two threads that plan one model would take each other's shadow for the model.
_lock = threading.RLock()


@contextlib.contextmanager
def shadowed(
    model: nn.Module, *, copied: bool = False, names: Names | None = None
) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Within this, the model's tensors lie in other memory: with the same numbers (``copied``), or untouched.

    ``names`` are the model's tensors where somebody has just looked.

    Yields each tensor of the model, with one on the model's own memory. Those on the meta device have none,
    and those that are sharded are elsewhere too; whole tensors with untouched memory stand in for them.
    """
    with _lock:
        tensors = _tensors(names or named_tensors(model))
        kept: list[_KeptModule | _KeptTensor] = []
        try:
            here = [tensor for tensor in tensors if not _stood_for(tensor)]
            kept += map(_KeptModule, modules_of(model))
            own = [(tensor, tensor.data) for tensor in here]
            memory: dict[int, torch.UntypedStorage] = {}
            for tensor, original in own:
                kept.append(_KeptTensor(tensor, original))
                storage = original.untyped_storage()
                if (new := memory.get(storage._cdata)) is None:
                    new = storage.clone() if copied else torch.UntypedStorage(storage.nbytes())
                    memory[storage._cdata] = new
                tensor.data = tensor_at(new, region_of(original))
                if tensor.is_leaf and tensor.grad is not None:
                    tensor.grad = tensor.grad.clone()
            given = _give_memory(model, [tensor for tensor in tensors if _stood_for(tensor)])
            yield own + [(tensor, tensor) for tensor in given]
        finally:
            _put_back(kept)


def _put_back(kept: list[_KeptModule | _KeptTensor]) -> None:
    """Let everything be as it was, last to first, also after one that raises."""
    while kept:
        try:
            kept.pop().put_back()
        except BaseException:
            _put_back(kept)
            raise


class _KeptModule:
    """A module's class and attributes, as they were."""

    __slots__ = "_attributes", "_contents", "_kind", "_module"

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kind = type(module)
        self._attributes = attributes = module.__dict__.copy()
        # Its tensors, modules and hooks are in containers, and what its own code counts or collects may be.
        # A part that torch.jit has compiled keeps its tensors in C++, and code cannot replace them.
        # Most are empty, and need no copy.
        self._contents = [
            (each, each.copy() if each else ()) for each in attributes.values() if type(each) in _CONTAINERS
        ]

    def put_back(self) -> None:
        """Let it be as it was."""
        module = self._module
        if type(module) is not self._kind:
            # Parametrizations give a module a class of its own.
            module.__class__ = self._kind
        attributes = module.__dict__
        attributes.clear()
        attributes.update(self._attributes)
        for now, before in self._contents:
            if not (now or before):
                continue
            now.clear()
            (now.extend if isinstance(now, list) else now.update)(before)


class _KeptTensor:
    """A tensor's memory, attributes and gradient, as they were."""

    __slots__ = "_attributes", "_data", "_gradient", "_leaf", "_needed", "_tensor", "_version"

    def __init__(self, tensor: torch.Tensor, data: torch.Tensor) -> None:
        self._tensor = tensor
        self._data = data
        self._attributes = vars(tensor).copy()
        self._needed, self._version, self._leaf = tensor.requires_grad, tensor._version, tensor.is_leaf
        self._gradient = tensor.grad if self._leaf else None

    def put_back(self) -> None:
        """Let it be as it was."""
        tensor = self._tensor
        tensor.data = self._data
        attributes = vars(tensor)
        if attributes or self._attributes:
            attributes.clear()
            attributes.update(self._attributes)
        if tensor.requires_grad != self._needed:
            tensor.requires_grad_(self._needed)
        if tensor._version != self._version:
            _set_version(tensor, self._version)
        if self._leaf and tensor.grad is not self._gradient:
            tensor.grad = self._gradient


def _set_version(tensor: torch.Tensor, version: int) -> None:
    """Operations that were recorded and not done count as changes; they were none."""
    set_counter: Any = vars(torch._C)["_autograd"]._unsafe_set_version_counter
    try:
        set_counter((tensor,), (version,))
    except TypeError:
        # torch 2.6 takes one tensor.
        set_counter(tensor, version)


def _give_memory(model: nn.Module, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Put tensors with memory in the place of those that have none; the new ones."""
    made: dict[int, torch.Tensor] = {}
    for tensor in tensors:
        new = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu"
        )  # of a shard, the whole
        if isinstance(tensor, nn.Parameter):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
        vars(new).update(vars(tensor))  # type: ignore[attr-defined]
        made[id(tensor)] = new
    for module in model.modules() if made else ():
        for name, tensor in (*parameters_of(module).items(), *buffers_of(module).items()):
            if id(tensor) in made:
                replace_tensor(module, name, made[id(tensor)])
    return list(made.values())


def _stood_for(tensor: torch.Tensor) -> bool:
    """Whether the tensor has no memory here that the code could be shown."""
    return is_sharded(tensor) or (tensor.is_meta and type(tensor) in (torch.Tensor, nn.Parameter))


def _tensors(names: Names) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for entry in names.entries.values():
        for tensor in entry.stored:
            if not is_plain(tensor) and not _stood_for(tensor):
                raise TensorError(
                    f"A {type(tensor).__name__} on {tensor.device} cannot be traced.",
                    parameter=entry.name,
                    shape=tuple(tensor.shape),
                    fix="Trace the function that builds the model: initcfg.trace(build).",
                )
            found[id(tensor)] = tensor
    return list(found.values())
