"""The recipes for torchtitan and Modalities run, beside the real ones; shards make the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_ranks, values_of
from reader import Reader
from recipes import pages


@pytest.mark.parametrize("page", pages("titan"), ids=lambda path: path.stem)
def test_recipe_runs(page: Path, reader_folder: Path) -> None:
    assert Reader(page, reader_folder).read(has="titan") > 0


RULES: list[dict[str, Any]] = [
    dict(type="Normal", layer="Embedding", std=1.0),
    dict(type="TruncNormal", layer="Linear", std=0.02, a_sigma=-3, b_sigma=3),
    dict(type="Constant", layer="RMSNorm", val=1),
]


def started(rank: int, world: int) -> list[float]:
    """Sums over the model that torchtitan's steps make on these ranks: meta, shards, memory, init_weights."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torchtitan.models.llama3 import model_registry

    from initcfg.integrations.torchtitan import InitConverter

    spec = model_registry("debugmodel", converters=[InitConverter.Config(rules=RULES, seed=3)])
    with torch.device("meta"):
        model = spec.model.build()
    mesh = init_device_mesh("cpu", (world,))
    for block in model.layers.values():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    with torch.no_grad():
        model.init_weights()
    return [each.full_tensor().double().sum().item() for each in model.parameters()]


def test_the_converter_under_fsdp2_in_two_worlds() -> None:
    one, *_ = values_of(run_ranks(1, started, timeout=240))
    for two in values_of(run_ranks(2, started, timeout=240)):
        assert two == one
    assert len(one) == 45
