"""FSDP2: its modules hold their shards, and whole parameters in their place while they are in use.

After a forward without backward, the outermost module keeps the whole ones. What is written to them is lost
when the shards come back; so these are put back first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

from initcfg.errors import ApplyError


def hold_shards(model: nn.Module) -> None:
    """Let each module of FSDP2 hold its shards again."""
    for module in _fully_sharded(model):
        module.reshard()
        # That does nothing after a forward that was broken off.
        state = module._get_fsdp_state()
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for group in filter(None, groups):
            group._to_sharded()


def note_shards(model: nn.Module) -> None:
    """Tell each module of FSDP2 that its shards lie elsewhere now."""
    for module in _fully_sharded(model):
        try:
            # The class's own method: that of a pending model is closed.
            type(module)._apply(module, lambda tensor: tensor, recurse=False)
        except (AssertionError, RuntimeError) as error:
            raise ApplyError(
                f"FSDP2 does not take the shards of {type(module).__name__}: {error}",
                fix="This is a layout that torch cannot bring from the meta device. Shard along another "
                "dimension, or build the model with memory: initcfg.deferred() does not fill it.",
            ) from error


def _fully_sharded(model: nn.Module) -> Iterator[Any]:
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    if kind is not None:
        yield from (module for module in model.modules() if isinstance(module, kind))
