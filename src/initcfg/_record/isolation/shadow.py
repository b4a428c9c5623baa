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

from initcfg._model import buffers_of, is_sharded, named_tensors, parameters_of, replace_tensor
from initcfg._record.recording import is_plain, region_of, tensor_at
from initcfg.errors import TensorError

_CONTAINERS = (dict, OrderedDict, set, list)
# Two threads that plan one model would take each other's shadow for the model.
_lock = threading.RLock()


@contextlib.contextmanager
def shadowed(model: nn.Module, *, copied: bool = False) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Within this, the model's tensors lie in other memory: with the same numbers (``copied``), or untouched.

    Yields each tensor of the model, with one on the model's own memory. Those on the meta device have none,
    and those that are sharded are elsewhere too; whole tensors with untouched memory stand in for them.
    """
    with _lock, contextlib.ExitStack() as undo:
        tensors = _tensors(model)
        here = [tensor for tensor in tensors if not _stood_for(tensor)]
        for module in model.modules():
            _keep_module(undo, module)
        own = [(tensor, tensor.data) for tensor in here]
        memory: dict[int, torch.UntypedStorage] = {}
        for tensor, original in own:
            _keep_tensor(undo, tensor)
            storage = original.untyped_storage()
            if storage._cdata not in memory:
                memory[storage._cdata] = storage.clone() if copied else torch.UntypedStorage(storage.nbytes())
            tensor.data = tensor_at(memory[storage._cdata], region_of(original))
            if tensor.is_leaf and tensor.grad is not None:
                tensor.grad = tensor.grad.clone()
        given = _give_memory(model, [tensor for tensor in tensors if _stood_for(tensor)])
        yield own + [(tensor, tensor) for tensor in given]


def _keep_module(undo: contextlib.ExitStack, module: nn.Module) -> None:
    kind, attributes = type(module), dict(vars(module))
    # Its tensors, modules and hooks are in containers, and what its own code counts or collects may be.
    # A part that torch.jit has compiled keeps its tensors in C++, and code cannot replace them.
    # Most are empty, and need no copy.
    contents = [
        (each, each.copy() if each else ()) for each in attributes.values() if type(each) in _CONTAINERS
    ]

    def restore() -> None:
        if type(module) is not kind:
            # Parametrizations give a module a class of its own.
            module.__class__ = kind
        vars(module).clear()
        vars(module).update(attributes)
        for now, before in contents:
            if not (now or before):
                continue
            now.clear()
            (now.extend if isinstance(now, list) else now.update)(before)

    undo.callback(restore)


def _keep_tensor(undo: contextlib.ExitStack, tensor: torch.Tensor) -> None:
    data, attributes = tensor.data, dict(vars(tensor))
    needed, version, leaf = tensor.requires_grad, tensor._version, tensor.is_leaf
    gradient = tensor.grad if leaf else None

    def restore() -> None:
        tensor.data = data
        vars(tensor).clear()
        vars(tensor).update(attributes)
        if tensor.requires_grad != needed:
            tensor.requires_grad_(needed)
        if tensor._version != version:
            _set_version(tensor, version)
        if leaf and tensor.grad is not gradient:
            tensor.grad = gradient

    undo.callback(restore)


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
        new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)  # of a shard, the whole
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


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for entry in named_tensors(model).entries.values():
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
