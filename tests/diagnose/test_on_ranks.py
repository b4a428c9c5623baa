"""Two processes: replicas are diagnosed as one model is, by one rank too; shards are refused in words."""

from __future__ import annotations

import pytest
import torch
from diagnosed_models import classes, perceptron
from processes import run_ranks
from torch import nn

import initcfg


def _large_head() -> nn.Sequential:
    model = perceptron()
    with torch.no_grad():
        model[-1].weight.mul_(80)
    return model


def _replicas(rank: int, world: int) -> list[tuple[str, float]]:
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(_large_head())
    before = [each.clone() for each in model.parameters()]
    found: list[tuple[str, float]] = []
    if rank == 0:
        # The others wait for nobody: a diagnosis takes no part in what ranks do together.
        diagnosis = initcfg.diagnose(model, classes(), steps=2)
        found = [(each.code, each.measured or 0.0) for each in diagnosis.findings]
    assert all(map(torch.equal, before, model.parameters()))
    inputs, targets = classes()
    nn.functional.cross_entropy(model(inputs), targets).backward()
    return found


def _shards(rank: int, world: int) -> str:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = _large_head()
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    with pytest.raises(initcfg.errors.DiagnosisError) as caught:
        initcfg.diagnose(model, classes(), steps=2)
    return str(caught.value)


def test_replicas_are_diagnosed_by_one_rank() -> None:
    one, other = run_ranks(2, _replicas)
    assert one.error is None and other.error is None, (one, other)
    alone = initcfg.diagnose(_large_head(), classes(), steps=2)
    assert [code for code, _ in one.value] == [each.code for each in alone.findings]
    assert one.value[0] == ("initial-loss", pytest.approx(alone.findings[0].measured))


def test_shards_are_refused_on_every_rank_with_what_to_do() -> None:
    for each in run_ranks(2, _shards):
        assert each.error is None, each
        assert "This model is sharded" in each.value and "0.weight" in each.value
        assert "before fully_shard" in each.value
