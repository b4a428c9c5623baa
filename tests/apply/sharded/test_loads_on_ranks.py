"""Checkpoints on two ranks: what load hooks make is cut out of the whole, and wrappers take plain names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loading_as_torch import Resized, numbered
from processes import run_ranks
from torch import nn

import initcfg


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = Resized(5), nn.Linear(4, 6)


def _state() -> dict[str, torch.Tensor]:
    body = {f"body.{name}": each for name, each in numbered(Resized(3)).items()}
    return body | {"fc.weight": torch.arange(24.0).view(6, 4), "fc.bias": torch.arange(6.0)}


def _whole(tensor: Any) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _loaded(rank: int, world: int, way: str, change: dict[str, Any]) -> list[tuple[str, list[Any]]] | str:
    model: nn.Module = Net()
    if way == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        fully_shard(model.body)
        fully_shard(model)
    elif way == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        model = DistributedDataParallel(model)
    state = _state() | change
    if change.get("wrapped"):
        state.pop("wrapped")
        state = {f"module.{name}": each for name, each in state.items()}
    try:
        initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state, strict="all"), seed=1)
    except initcfg.errors.CheckpointError as error:
        return str(error)
    found = model.module if way == "ddp" else model
    return [(name, _whole(each).tolist()) for name, each in found.state_dict().items()]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("way", ["fsdp2", "ddp"])
def test_every_rank_has_what_one_process_has(way, wrapped):
    alone = Net()
    initcfg.init_weights(alone, dict(type="Pretrained", checkpoint=_state(), strict="all"), seed=1)
    assert alone.body.positions[0, :, 0].tolist() == [0, 0, 4, 4, 8]
    right = [(name, each.tolist()) for name, each in alone.state_dict().items()]
    for result in run_ranks(2, _loaded, way, {"wrapped": True} if wrapped else {}):
        assert result.error is None, result.trace
        assert result.value == right


def test_a_number_that_one_rank_cannot_hold_stops_them_all():
    weight = torch.zeros(6, 4, dtype=torch.float64)
    weight[5, 3] = 1e300
    for result in run_ranks(2, _loaded, "fsdp2", {"fc.weight": weight}):
        assert (result.error or "") + str(result.value or "") != ""
        told = f"{result.error} {result.text} {result.value}"
        assert "does not hold 1e+300" in told, result.trace
