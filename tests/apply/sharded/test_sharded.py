"""Sharded models: what is refused and why, rules, checkpoints, empty shards; and torch's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from layout_models import built
from layouts import differences, fsdp, gathered_differences, indices, tensors
from processes import run_ranks, values_of
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel as Fsdp1
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from whole_models import LINEAR, mesh_of_all, message

import initcfg

# -- refused -------------------------------------------------------------------------------------


def refused(rank: int, world: int) -> dict[str, str]:
    found: dict[str, str] = {}
    mesh = mesh_of_all()
    model = nn.Linear(4, 4)
    plan = initcfg.plan(model, LINEAR)
    model.weight = nn.Parameter(DTensor.from_local(torch.ones(4, 4), mesh, [Partial()]))
    found["partial"] = message(lambda: plan.apply(model, seed=0))
    whole = distribute_tensor(torch.ones(4, 4), init_device_mesh("cpu", (1, world)), [Shard(0)] * 2)
    other = nn.Linear(4, 4)
    other.weight = nn.Parameter(whole)
    if order := getattr(other.weight._spec, "shard_order", None):
        # torch notes the order since some version.
        other.weight._spec.shard_order = (order[0]._replace(mesh_dims=(1, 0)),)
        found["order"] = message(lambda: initcfg.init_weights(other, LINEAR, seed=0))
    found["unwritten"] = str(model.weight.to_local().unique().tolist())
    model = nn.Linear(4, 4)
    fully_shard(model, mesh=mesh)
    found["rng"] = message(lambda: initcfg.init_weights(model, LINEAR, seed=0, rng="torch"))
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    fully_shard(model, mesh=mesh)
    found["parametrized"] = message(lambda: initcfg.init_weights(model, LINEAR, seed=0))
    for original in (True, False):
        plain = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        before = initcfg.plan(plain, LINEAR)
        flat = Fsdp1(plain, use_orig_params=original, device_id=torch.device("cpu"))
        calls: dict[str, Callable[[], Any]] = {
            "plan": partial(initcfg.plan, flat, LINEAR),
            "apply": partial(before.apply, flat, seed=0),
            "materialize": partial(initcfg.materialize, flat, LINEAR, seed=0),
        }
        found |= {f"{name} {original}": message(call) for name, call in calls.items()}
    model = built("llama")
    plan = initcfg.trace(lambda: built("llama"))
    styles = {"embed": RowwiseParallel(input_layouts=Replicate()), "head": ColwiseParallel()}
    parallelize_module(model, mesh, styles)
    found["untied"] = message(lambda: plan.apply(model, seed=0))
    return found


def test_what_is_refused() -> None:
    first, second = values_of(run_ranks(2, refused))
    # FSDP1 gives each rank another shape.
    assert {key: each for key, each in first.items() if "FSDP1" not in each} == {
        key: each for key, each in second.items() if "FSDP1" not in each
    }
    assert "TensorError: A tensor placed as" in first["partial"]
    assert "sum that has not been made yet" in first["partial"]
    assert "redistribute(placements=[Replicate()])" in first["partial"]
    known = "over the dimensions (1, 0) of its mesh in this order, which is not supported"
    assert known in first.get("order", known)
    assert first["unwritten"] == "[1.0]"
    assert "torch's generator draws whole tensors" in first["rng"]
    assert "parametrized and sharded" in first["parametrized"]
    for call in ("plan", "apply", "materialize"):
        for original in (True, False):
            said = first[f"{call} {original}"]
            assert "TensorError: FullyShardedDataParallel (FSDP1)" in said
            assert "Use torch.distributed.fsdp.fully_shard" in said
    assert "'head.weight'" in first["untied"]
    assert "one tensor with 'embed.weight' where the plan was made" in first["untied"]
    assert "Tie them again" in first["untied"]


# -- rules on sharded modules --------------------------------------------------------------------


class Projection(nn.Linear):
    """fully_shard puts a class of its own between this one and its instances."""


RULES: list[dict[str, Any]] = [
    dict(type="Xavier", layer=["Linear", "Conv2d"]),
    dict(type="Constant", layer="_BatchNorm", val=2),
    dict(type="Kaiming", layer="MultiheadAttention"),
    dict(type="Normal", layer="Embedding", std=0.1),
    dict(type="TorchDefault", layer="LSTM"),
    dict(type="Orthogonal", name="6", gain=2),
]


def many_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Projection(5, 7),
        nn.Conv2d(3, 5, 3),
        nn.BatchNorm2d(5),
        nn.MultiheadAttention(8, 2),
        nn.Embedding(7, 5, padding_idx=1),
        nn.LSTM(5, 6),
        nn.Linear(7, 9),
        nn.GroupNorm(1, 3),
    )


def by_rules(rank: int, world: int) -> Any:
    plain, model = many_layers(), many_layers()
    for child in (*model, model):
        fully_shard(child, mesh=mesh_of_all())
    one, two = initcfg.plan(plain, RULES), initcfg.plan(model, RULES)
    one.apply(plain, seed=1)
    two.apply(model, seed=1)
    with torch.device("meta"):
        late = many_layers()
    for child in (*late, late):
        fully_shard(child, mesh=mesh_of_all())
    # What no rule says is what the layers' own reset_parameters does; the global seed has no part in it.
    with torch.device("meta"):
        alone = many_layers()
    initcfg.materialize(alone, RULES, seed=1)
    initcfg.materialize(late, RULES, seed=1)
    kinds = {item.value.kind for item in two.parameters.values()}
    return (
        one.digest == two.digest,
        gathered_differences(model, tensors(plain)),
        gathered_differences(late, tensors(alone)),
        sorted(kinds),
    )


def test_rules_see_through_fully_shard() -> None:
    for same, wrong, late, kinds in values_of(run_ranks(3, by_rules)):
        assert same
        assert wrong == late == []
        assert {"Keep", "Parts", "PaddingRow", "Orthogonal", "Uniform", "Constant"} <= {*kinds}


# -- checkpoints ---------------------------------------------------------------------------------


class Loaded(nn.Module):
    """What is read as it is, and what is adapted."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(6, 11)])
        self.stem = nn.Conv2d(4, 6, 3)
        self.positions = nn.Parameter(torch.zeros(1, 26, 4))
        self.words = nn.Embedding(9, 4)
        self.turned = nn.Linear(5, 3, bias=False)
        self.norm = nn.BatchNorm1d(7)


def loaded(rank: int, world: int, path: str) -> Any:
    rule = dict(
        type="Pretrained",
        checkpoint=path,
        adapt={
            "stem.weight": "channels",
            "positions": "resize",
            "words.weight": dict(type="grow", by="covariance"),
            "turned.weight": "transpose",
        },
    )
    whole = Loaded()
    plan = initcfg.plan(whole, rule)
    plan.apply(whole, seed=3)
    wrong: dict[str, list[str]] = {}
    held = indices(Loaded(), fsdp)  # type: ignore[arg-type]
    for flow in ("meta", "deferred", "real"):
        with torch.device("meta" if flow == "meta" else "cpu"):
            model: Any = Loaded() if flow != "deferred" else None
        if model is None:
            with initcfg.deferred():
                model = Loaded()
        fsdp(model)
        ledger = (
            plan.apply(model, seed=3) if flow == "real" else initcfg.materialize(model, plan=plan, seed=3)
        )
        wrong[flow] = differences(model, tensors(whole), held)
    kinds = {name: item.value.kind for name, item in plan.parameters.items()}
    return wrong, kinds, ledger["stem.weight"].by, float(whole.blocks[0].weight.detach()[3, 2])


def test_checkpoints_are_read_shard_by_shard(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    state = {
        "blocks.0.weight": numbers(11, 6),
        "blocks.0.bias": numbers(11),
        "stem.weight": numbers(6, 3, 3, 3),
        "stem.bias": numbers(6),
        "positions": numbers(1, 17, 4),
        "words.weight": numbers(7, 4),
        "turned.weight": numbers(5, 3),
        "norm.weight": numbers(7),
        "norm.bias": numbers(7),
        "norm.running_mean": numbers(7),
        "norm.running_var": numbers(7).abs(),
        "norm.num_batches_tracked": torch.tensor(12),
    }
    save_file(state, path := str(tmp_path / "model.safetensors"))
    for wrong, kinds, by, number in values_of(run_ranks(3, loaded, path)):
        assert wrong == {"meta": [], "deferred": [], "real": []}
        assert sorted(set(kinds.values())) == ["Adapted", "FromCheckpoint"]
        assert kinds["words.weight"] == "Adapted"
        assert by == "rule"
        assert number == float(state["blocks.0.weight"][3, 2])


# -- what torch does by itself -------------------------------------------------------------------


def torchs_own(rank: int, world: int, rows: int) -> Any:
    """``nn.init`` on sharded weights under one seed, beside ours."""
    model = nn.Sequential(nn.Linear(3, rows, bias=False))
    plan = initcfg.plan(model, LINEAR)
    fully_shard(model, mesh=mesh_of_all())
    torch.manual_seed(0)
    nn.init.normal_(model[0].weight, std=0.02)
    theirs = model[0].weight.full_tensor().detach(), model[0].weight.to_local().detach().clone()
    plan.apply(model, seed=0)
    return *(each.tolist() for each in theirs), model[0].weight.full_tensor().tolist()


def test_torchs_own_initialization_depends_on_the_layout() -> None:
    """On CPU meshes DTensor has no generator that knows of shards: each rank draws its local tensor from its
    own default generator, which has the same seed on all. So the shards are copies of one another, and each
    number of ranks gives another whole.
    """
    alone = nn.Sequential(nn.Linear(3, 8, bias=False))
    initcfg.plan(alone, LINEAR).apply(alone, seed=0)
    ours = alone[0].weight.tolist()
    torch.manual_seed(0)
    nn.init.normal_(alone[0].weight, std=0.02)  # type: ignore[arg-type]
    wholes = {1: alone[0].weight.tolist()}
    for world in (2, 4):
        results = values_of(run_ranks(world, torchs_own, 8))
        wholes[world] = results[0][0]
        assert all(shard == results[0][1] for _, shard, _ in results)
        assert all(mine == ours for *_, mine in results)
    assert wholes[2] != wholes[1]
    assert wholes[4] not in (wholes[1], wholes[2])


# -- shards that are empty for two reasons ---------------------------------------------------------


class Stacked(nn.Module):
    """Three experts: over four ranks, the last has none."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(3, 4, 6))
        nn.init.normal_(self.up)


def fewer_experts_than_ranks(rank: int, world: int) -> dict[str, Any]:
    plan = initcfg.trace(Stacked)
    whole = Stacked()
    plan.apply(whole, seed=3)
    mesh = init_device_mesh("cpu", (1, world), mesh_dim_names=("dp", "ep"))

    def laid_out(context: Any) -> Stacked:
        with context:
            model = Stacked()
        model.up = nn.Parameter(distribute_tensor(model.up, mesh["ep"], [Shard(0)]))
        fully_shard(model, mesh=mesh["dp"], shard_placement_fn=lambda parameter: Shard(1))
        return model

    model = laid_out(initcfg.deferred())
    initcfg.materialize(model, plan=plan, seed=3)
    here = whole.up[rank : rank + 1]
    found: dict[str, Any] = {"deferred": torch.equal(model.up.to_local().flatten(), here.flatten())}
    model = laid_out(torch.device("meta"))
    found["meta"] = message(lambda: initcfg.materialize(model, plan=plan, seed=3))
    return found


def test_what_torch_cannot_bring_from_the_meta_device_stops_all_at_once() -> None:
    results = values_of(run_ranks(4, fewer_experts_than_ranks))
    assert [each["deferred"] for each in results] == [True] * 4
    assert results[3]["meta"].startswith("ApplyError: FSDP2 does not take the shards of FSDPStacked: ")
    for each in results[:3]:
        assert each["meta"].startswith("AgreementError: Rank 3 failed, so all stop: FSDP2 does not take")
