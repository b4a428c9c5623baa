"""What the properties of random trees share: settings, plans, and the bits of a model."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, assume, settings
from torch import nn
from trees import Tree

import initcfg
from initcfg.errors import InitcfgError

some = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def planned(tree: Tree, model: nn.Module, **options: Any) -> initcfg.Plan:
    try:
        return initcfg.plan(model, tree.outer, **options)
    except InitcfgError:
        assume(False)
        raise


def bits(model: nn.Module) -> dict[str, bytes]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def versions(model: nn.Module) -> dict[str, int]:
    return {name: tensor._version for name, tensor in model.named_parameters()}
