"""What an operation of ATen made, and what it only changed."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten


def made_by(func: Any, result: Any) -> list[torch.Tensor]:
    """The tensors of a result that the operation made: not those that it was given and has changed."""
    schema = getattr(func, "_schema", None)
    items: Any = result
    if schema is not None and schema.is_mutable:
        each = result if len(schema.returns) > 1 else [result]
        items = [item for item, kind in zip(each, schema.returns, strict=False) if kind.alias_info is None]
    return [item for item in tree_flatten(items)[0] if isinstance(item, torch.Tensor)]
