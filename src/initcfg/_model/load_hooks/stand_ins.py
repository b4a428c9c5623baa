"""Other tensors in the place of a module's own, while hooks run; afterwards the module is as it was."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from initcfg._model.contents import is_compiled
from initcfg._model.load_hooks.found import _module_of
from initcfg._model.shards import is_sharded

# What a module keeps in containers of its own.
CONTAINERS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
# Hooks that would find the doors of a model that has no weights yet.
_HOOKS = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_state_dict_pre_hooks")
# Two threads that plan one model would take each other's stand-ins for the model's tensors.
_lock = threading.RLock()


@contextlib.contextmanager
def stand_ins(
    module: nn.Module, *, on_meta: bool, filled: Collection[int] = ()
) -> Iterator[dict[int, torch.Tensor]]:
    """Within this, every tensor of a module and below is another one: without numbers ``on_meta``, else with.

    Those of the modules in ``filled`` (by ``id``), and all buffers, hold the numbers of the originals where
    these have some; the others hold zeros. Yields the stand-ins by the ``id`` of what they stand for.
    """
    made: dict[int, torch.Tensor] = {}
    with _lock, contextlib.ExitStack() as undo:
        # What torch.jit has compiled runs no code of a person's, and takes no other tensors.
        inside = [each for each in module.modules() if not is_compiled(each)]
        for each in inside:
            keep_module(undo, each)
        for each in inside:
            for name in _HOOKS:
                hooks = vars(each).get(name)
                if hooks:
                    kept = [(key, hook) for key, hook in hooks.items() if not _is_a_door(hook)]
                    vars(each)[name] = type(hooks)(kept)
            for container in _tensors_of(each):
                for name, tensor in container.items():
                    if tensor is None:
                        continue
                    if id(tensor) not in made:
                        copied = container is each._buffers or id(each) in filled
                        made[id(tensor)] = _stand_in(tensor, on_meta, copied)
                    container[name] = made[id(tensor)]
        yield made


def _tensors_of(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    return module._parameters, module._buffers


def _is_a_door(hook: Any) -> bool:
    return _module_of(hook).startswith("initcfg.")


def _stand_in(tensor: torch.Tensor, on_meta: bool, copied: bool) -> torch.Tensor:
    if on_meta:
        new = torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="meta")
    elif copied and has_numbers(tensor):
        new = tensor.detach().cpu().clone()
    else:
        # Memory that nobody touches costs none.
        new = torch.zeros(tuple(tensor.shape), dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        new = nn.Parameter(new, requires_grad=tensor.requires_grad)
    vars(new).update(vars(tensor))
    return new


def has_numbers(tensor: torch.Tensor) -> bool:
    """Whether a tensor of a model holds numbers on this rank, all of them."""
    return not tensor.is_meta and not is_sharded(tensor)


def keep_module(undo: contextlib.ExitStack, module: nn.Module) -> None:
    """A module's attributes, and what its containers hold, are put back in the end."""
    attributes = dict(vars(module))
    containers = [attributes[name] for name in CONTAINERS if name in attributes]
    items = [type(container)(container) for container in containers]

    def restore() -> None:
        for now, before in zip((vars(module), *containers), (attributes, *items), strict=True):
            now.clear()
            now.update(before)

    undo.callback(restore)
