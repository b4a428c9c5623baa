"""What the tests of sharded models compare with: a whole model, and what a call raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from layout_models import built
from layouts import tensors
from torch.distributed.device_mesh import init_device_mesh

import initcfg
from initcfg import errors

LINEAR = dict(type="Normal", layer="Linear", std=0.02)


def mesh_of_all() -> Any:
    return init_device_mesh("cpu", (torch.distributed.get_world_size(),))


def message(call: Callable[[], Any]) -> str:
    """What the call raises."""
    with pytest.raises(errors.InitcfgError) as caught:
        call()
    return f"{type(caught.value).__name__}: {caught.value}"


def whole_and_plan(name: str) -> tuple[dict[str, torch.Tensor], initcfg.Plan]:
    plan, model = initcfg.trace(lambda: built(name)), built(name, seed=1)
    plan.apply(model, seed=3)
    return tensors(model), plan
