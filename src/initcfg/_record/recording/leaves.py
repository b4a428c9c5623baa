"""Leaves: what the arguments and results of an operation hold, one by one.

As torch's trees of Python have it, which take ten times as long for the plain tuples that nearly all are.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from initcfg._record.recording.storage import Operand

_LEAVES = frozenset(
    (
        torch.Tensor,
        torch.nn.Parameter,
        Operand,
        int,
        float,
        bool,
        str,
        NoneType,
        torch.dtype,
        torch.device,
        torch.layout,
        torch.memory_format,
    )
)


def leaves(items: Any) -> list[Any]:
    """All that is in tuples, lists and dicts, in order.

    Example:
        >>> from initcfg._record.recording.leaves import leaves
        >>> leaves(((1, [2.0, None]), {"dim": 3}))
        [1, 2.0, None, 3]
    """
    found: list[Any] = []
    _collect(items, found)
    return found


def _collect(item: Any, found: list[Any]) -> None:
    kind = type(item)
    if kind in _LEAVES:
        found.append(item)
    elif kind is tuple or kind is list:
        for each in item:
            _collect(each, found)
    elif kind is dict:
        for each in item.values():
            _collect(each, found)
    else:
        found += tree_flatten(item)[0]


def mapped(change: Callable[[Any], Any], items: Any) -> Any:
    """The same tuples, lists and dicts, with each leaf changed."""
    kind = type(items)
    if kind in _LEAVES:
        return change(items)
    if kind is tuple:
        return tuple([mapped(change, each) for each in items])
    if kind is list:
        return [mapped(change, each) for each in items]
    if kind is dict:
        return {key: mapped(change, each) for key, each in items.items()}
    return tree_map(change, items)
