"""Copies of an ``init_cfg``: a config that is shared stays as it is, and tensors in it are not copied."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any


def copied_rules(rules: Any) -> Any:
    """A deep copy that shares the tensors: a state_dict given in code is as large as a model."""
    return copy.deepcopy(rules, {id(tensor): tensor for tensor in _tensors(rules)})


def holds_tensors(item: Any) -> bool:
    """Whether a mapping is a state_dict, as far as a look at its values tells."""
    return isinstance(item, Mapping) and any(map(_is_tensor, item.values()))


def _tensors(item: Any) -> Iterator[Any]:
    if isinstance(item, (Mapping, list, tuple)):
        for each in item.values() if isinstance(item, Mapping) else item:
            yield from _tensors(each)
    elif _is_tensor(item):
        yield item


def _is_tensor(item: Any) -> bool:
    # By name, since torch is not imported for a look at a config.
    return any(base.__name__ == "Tensor" and base.__module__ == "torch" for base in type(item).__mro__)
