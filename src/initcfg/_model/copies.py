"""Copies of an ``init_cfg``: shared configs stay as they are, and tensors in them are not copied."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def copied(item: Any) -> Any:
    """A deep copy, but for tensors: a state_dict given in code is as large as a model."""
    shared: dict[int, Any] = {}
    _collect(item, shared)
    return copy.deepcopy(item, shared)


def holds_tensors(item: Any) -> bool:
    """Whether a mapping is a state_dict, as far as a look at its values tells."""
    return isinstance(item, Mapping) and any(is_tensor(each) for each in item.values())


def is_tensor(item: Any) -> bool:
    """Whether something is a tensor; torch is not imported for that."""
    return any(base.__name__ == "Tensor" and base.__module__ == "torch" for base in type(item).__mro__)


def _collect(item: Any, shared: dict[int, Any]) -> None:
    if isinstance(item, Mapping):
        for each in item.values():
            _collect(each, shared)
    elif isinstance(item, (list, tuple)):
        for each in item:
            _collect(each, shared)
    elif is_tensor(item):
        shared[id(item)] = item
