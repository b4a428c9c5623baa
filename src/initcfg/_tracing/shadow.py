"""A model that is there already, while code runs over it: its tensors lie elsewhere, and nothing stays.

Each parameter and buffer gets memory that nobody has touched in the place of its own, as long as the trace
lasts. Afterwards the model is as it was: tensors, modules and attributes, also those that code replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from initcfg._deferral.log import tensor_at
from initcfg._deferral.operations import is_plain
from initcfg._deferral.regions import region_of
from initcfg._names import named_tensors
from initcfg.errors import TensorError

# What a module keeps in containers of its own.
_CONTAINERS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")

Originals = dict[int, torch.UntypedStorage]
"""By address of the memory that stands in: the model's own."""


@contextlib.contextmanager
def shadowed(model: nn.Module, *, copied: bool = False) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Within this, the model's tensors lie in other memory.

    Args:
        model: The model.
        copied: Whether that memory holds the same numbers; it is untouched if not.

    Yields:
        Each tensor of the model, with one on the model's own memory.

    Raises:
        TensorError: A tensor is of a kind that cannot be moved aside.
    """
    states = [(module, _state_of(module)) for module in model.modules()]
    tensors = _tensors(model)
    attributes = [(tensor, dict(tensor.__dict__), tensor.requires_grad) for tensor in tensors]
    own = [(tensor, tensor.data) for tensor in tensors]
    memory: dict[int, torch.UntypedStorage] = {}
    try:
        for tensor, original in own:
            storage = original.untyped_storage()
            if storage._cdata not in memory:
                memory[storage._cdata] = storage.clone() if copied else torch.UntypedStorage(storage.nbytes())
            tensor.data = tensor_at(memory[storage._cdata], region_of(original))
        yield own
    finally:
        for tensor, original in own:
            tensor.data = original
        for tensor, state, needed in attributes:
            now = vars(tensor)
            if now != state:
                now.clear()  # type: ignore[attr-defined]
                now.update(state)  # type: ignore[attr-defined]
            if tensor.requires_grad != needed:
                tensor.requires_grad_(needed)
        for module, (attributes_, containers) in states:
            own_attributes: dict[str, Any] = vars(module)  # type: ignore[assignment]
            own_attributes.clear()
            own_attributes.update(attributes_)
            for name, items in containers.items():
                container = attributes_[name]
                container.clear()
                container.update(items)


def _state_of(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    attributes = dict(module.__dict__)
    containers = {
        name: type(attributes[name])(attributes[name]) for name in _CONTAINERS if name in attributes
    }
    return attributes, containers


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for entry in named_tensors(model).entries.values():
        for tensor in entry.stored:
            if not is_plain(tensor):
                raise TensorError(
                    f"A {type(tensor).__name__} on {tensor.device} cannot be traced.",
                    parameter=entry.name,
                    shape=tuple(tensor.shape),
                    mend="Trace the function that builds the model: initcfg.trace(build).",
                )
            found[id(tensor)] = tensor
    return list(found.values())
