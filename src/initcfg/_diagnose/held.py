"""What modules hold beside parameters and buffers, and a pass may change: generators, and plain tensors."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from initcfg._stream.writing import same_bits


@contextlib.contextmanager
def held_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards the generators and the tensors that attributes hold are as they were."""
    with contextlib.ExitStack() as undo:
        for each in {id(item): item for module in model.modules() for item in _held(module)}.values():
            restore = _restoring(each)
            if restore is not None:
                undo.callback(restore)
        yield


def _held(module: nn.Module) -> Iterator[Any]:
    """What the attributes of a module are, and what lists and dicts among them hold."""
    for name, item in vars(module).items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        yield item
        if isinstance(item, (list, tuple)):
            yield from item
        elif isinstance(item, Mapping):
            yield from item.values()


def _restoring(item: Any) -> Callable[[], object] | None:
    """What puts something back as it is now; None if nothing needs to."""
    if isinstance(item, torch.Generator):
        return partial(item.set_state, item.get_state())
    if isinstance(item, random.Random):
        return partial(item.setstate, item.getstate())
    if isinstance(item, np.random.RandomState):
        return partial(item.set_state, item.get_state())
    if isinstance(item, np.random.Generator):
        return partial(setattr, item.bit_generator, "state", item.bit_generator.state)
    if isinstance(item, torch.Tensor) and not isinstance(item, nn.Parameter) and _has_memory(item):
        return partial(_write_back, item, item.detach().clone())
    return None


def _has_memory(tensor: torch.Tensor) -> bool:
    return type(tensor) is torch.Tensor and tensor.layout is torch.strided and not tensor.is_meta


def _write_back(tensor: torch.Tensor, before: torch.Tensor) -> None:
    now = tensor.detach()
    if now.shape == before.shape and not same_bits(now, before):
        with torch.no_grad():
            now.copy_(before)
