"""A deferred build that is then sharded: what its constructors meant is found again."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import initcfg
from initcfg import errors


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """One rank, and two dimensions."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "tp"))
    dist.destroy_process_group()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 4)
        self.norm = nn.BatchNorm1d(4)
        self.middle = nn.Linear(4, 4)
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.norm(self.embedding(tokens))))


def pending() -> Tied:
    with initcfg.deferred():
        return Tied()


def sharded(model: nn.Module, mesh: DeviceMesh, *, both: bool) -> nn.Module:
    if both:
        parallelize_module(model, mesh["tp"], {"middle": ColwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    return model


def whole(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: each.full_tensor() if isinstance(each, DTensor) else each
        for name, each in (*model.named_parameters(), *model.named_buffers())
    }


def assert_same(model: nn.Module, other: nn.Module) -> None:
    found, expected = whole(model), whole(other)
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        assert torch.equal(found[name], each), name


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("how", ["materialize", "init_weights"])
def test_defaults_survive_sharding(mesh: DeviceMesh, how: str, both: bool) -> None:
    model: Any = sharded(pending(), mesh, both=both)
    assert isinstance(model.middle.weight, DTensor)
    ledger = getattr(initcfg, how)(model, seed=3)
    assert {each.by for each in ledger.values()} == {"default"}
    expected = pending()
    initcfg.init_weights(expected, seed=3)
    assert_same(model, expected)
    assert model.head.weight is model.embedding.weight


def test_rules_beat_them(mesh: DeviceMesh) -> None:
    model = sharded(pending(), mesh, both=True)
    plan = initcfg.plan(model, dict(type="Constant", layer="Linear", val=2.0, bias=1.0))
    assert [write.value.kind for write in plan["middle.weight"].shadowed] == []
    assert plan["middle.weight"].default is not None
    plan.apply(model, seed=0)
    assert whole(model)["middle.weight"].unique().tolist() == [2.0]
    assert whole(model)["norm.weight"].unique().tolist() == [1.0]


@pytest.mark.parametrize("both", [False, True])
def test_the_doors_stay_closed(mesh: DeviceMesh, both: bool) -> None:
    model = sharded(pending(), mesh, both=both)
    tokens = torch.arange(4)
    doors = [model.state_dict, lambda: model(tokens), lambda: model.to("cpu"), lambda: pickle.dumps(model)]
    for door in doors:
        with pytest.raises(errors.PendingModelError):
            door()
    # The call that was refused has left FSDP with whole parameters.
    initcfg.materialize(model, seed=3)
    expected = pending()
    initcfg.init_weights(expected, seed=3)
    assert_same(model, expected)
    assert torch.equal(model.eval()(tokens), expected.eval()(tokens))


def test_what_a_person_put_there_stays(mesh: DeviceMesh) -> None:
    model = pending()
    model.middle.bias = nn.Parameter(torch.full((4,), 7.0))
    sharded(model, mesh, both=True)
    ledger = initcfg.init_weights(model, seed=0)
    assert ledger["middle.bias"].value.kind == "Keep"
    assert whole(model)["middle.bias"].tolist() == [7.0] * 4


def test_a_tie_that_is_made_after_the_build(mesh: DeviceMesh) -> None:
    with initcfg.deferred():
        model: Any = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8, bias=False))
    model[1].weight = model[0].weight
    sharded(model, mesh, both=False)
    ledger = initcfg.init_weights(model, seed=0)
    assert str(ledger["0.weight"].value) == "Normal(mean=0, std=1)"
    assert model[0].weight is model[1].weight


def test_a_parameter_that_moves_to_another_module(mesh: DeviceMesh) -> None:
    model = pending()
    holder = nn.Module()
    holder.scale = model.middle.bias
    del model.middle.bias
    fully_shard(holder, mesh=mesh["dp"])
    ledger = initcfg.init_weights(holder, seed=0)
    assert str(ledger["scale"].value) == "Uniform(a=-0.5, b=0.5)"


def test_nothing_is_left_behind(mesh: DeviceMesh) -> None:
    model = pending()
    initcfg.init_weights(model, seed=0)
    assert not [name for module in model.modules() for name in vars(module) if "initcfg" in name]
    assert_same(copy.deepcopy(model), model)
    assert_same(pickle.loads(pickle.dumps(model)), model)
    again = sharded(model, mesh, both=False)
    assert {each.value.kind for each in initcfg.plan(again).values()} == {"Keep"}


def test_a_failure_leaves_it_pending(mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sharded(pending(), mesh, both=False)
    plan = initcfg.plan(model)
    with monkeypatch.context() as patched:
        patched.setattr("initcfg._apply.filling.StreamFiller.finish", lambda self: 1 / 0)
        with pytest.raises(errors.ApplyError, match="ZeroDivisionError"):
            plan.apply(model, seed=0)
    with pytest.raises(errors.InitcfgError):
        model.state_dict()
    initcfg.init_weights(model, seed=3)
    expected = pending()
    initcfg.init_weights(expected, seed=3)
    assert_same(model, expected)


def test_what_constructors_computed_is_refused(mesh: DeviceMesh) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Linear(4, 4, bias=False)
            if self.proj.weight.detach().max() > 10:
                nn.init.zeros_(self.proj.weight)

    with initcfg.deferred():
        model = Looks()
    fully_shard(model, mesh=mesh["dp"])
    for call in (initcfg.materialize, initcfg.init_weights):
        with pytest.raises(errors.ApplyError, match="each rank drew for itself") as caught:
            call(model, seed=0)
        assert caught.value.parameter == "proj.weight"


def test_writes_after_a_forward_reach_the_shards(mesh: DeviceMesh) -> None:
    model = sharded(nn.Sequential(nn.Linear(4, 4)), mesh, both=False)
    with torch.no_grad():
        model(torch.ones(1, 4))
    assert not isinstance(next(model.parameters()), DTensor)
    initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=2.0), seed=0)
    with torch.no_grad():
        assert model(torch.ones(1, 4)).tolist() == [[8.0] * 4]
    model.reshard()
    assert whole(model)["0.weight"].unique().tolist() == [2.0]
