"""Stages of a pipeline: together they hold what the whole model would, whatever their names are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from layout_models import Llama, built
from layouts import bits, tensors
from processes import run_ranks, values_of
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import initcfg
from initcfg import errors
from initcfg.values import CopyOf


def whole_and_plan() -> tuple[dict[str, torch.Tensor], initcfg.Plan]:
    plan, model = initcfg.trace(lambda: built("llama")), built("llama", seed=1)
    plan.apply(model, seed=3)
    return tensors(model), plan


def on_meta() -> Any:
    with torch.device("meta"):
        return built("llama")


def names_kept(stage: int) -> tuple[nn.Module, dict[str, Any]]:
    """What is not of the stage is deleted; the rest keeps its name."""
    model: Any = on_meta()
    model.blocks = nn.ModuleDict({str(stage): model.blocks[stage]})
    if stage == 0:
        model.norm = model.head = None
    else:
        model.embed = None
    return model, {}


def counted_anew(stage: int) -> tuple[nn.Module, dict[str, Any]]:
    """The last layers are the first of their stage."""
    model: Any = on_meta()
    model.blocks = model.blocks[stage : stage + 1]
    if stage == 0:
        model.norm = model.head = None
    else:
        model.embed = None
    return model, dict(name_map={"blocks.0": f"blocks.{stage}"})


def by_function(stage: int) -> tuple[nn.Module, dict[str, Any]]:
    model, _ = counted_anew(stage)
    return model, dict(name_map=lambda name: name.replace("blocks.0", f"blocks.{stage}"))


def a_block_alone(stage: int) -> tuple[nn.Module, dict[str, Any]]:
    return on_meta().blocks[stage], dict(name_prefix=f"blocks.{stage}.")


STAGES = (names_kept, counted_anew, by_function, a_block_alone)


def there(name: str, name_prefix: str = "", name_map: Any = None) -> str:
    """A name in the whole model."""
    if callable(name_map):
        return name_prefix + name_map(name)
    for here, other in (name_map or {}).items():
        if name.startswith(f"{here}."):
            name = name.replace(here, other, 1)
    return name_prefix + name


def stages(rank: int, world: int) -> Any:
    """Each stage sharded over its own part of the mesh."""
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("pp", "dp"))
    stage = mesh.get_local_rank("pp")
    whole, plan = whole_and_plan()
    wrong: dict[str, list[str]] = {}
    seen: dict[str, list[str]] = {}
    for make in STAGES:
        module, named = make(stage)
        part = plan.part(module, **named)
        fully_shard(module, mesh=mesh["dp"])
        # All stages agree, though each has a plan of its own.
        initcfg.materialize(module, plan=part, seed=3, process_group=torch.distributed.group.WORLD)
        here = {
            name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            for name, tensor in tensors(module).items()
        }
        seen[make.__name__] = sorted(there(name, **named) for name in here)
        wrong[make.__name__] = [
            name
            for name, tensor in here.items()
            if not torch.equal(bits(tensor), bits(whole[there(name, **named)]))
        ]
    module, named = names_kept(stage)
    part = plan.part(module)
    fully_shard(module, mesh=mesh["dp"])
    with pytest.raises(errors.AgreementError) as caught:
        initcfg.materialize(module, plan=part, seed=stage, process_group=torch.distributed.group.WORLD)
    return wrong, seen, sorted(whole), str(caught.value)


def test_stages_that_are_sharded_hold_the_whole() -> None:
    results = values_of(run_ranks(4, stages, timeout=120))
    for wrong, *_ in results:
        assert wrong == {make.__name__: [] for make in STAGES}
    names = results[0][2]
    for make in STAGES[:3]:
        held = {name for _, seen, *_ in results for name in seen[make.__name__]}
        # Each tensor of the whole is in one stage or in both: the tie, under both of its names.
        assert sorted(held) == names
        assert "embed.weight" not in results[3][1][make.__name__]
        assert "head.weight" in results[3][1][make.__name__]
    assert all("do not agree on the seed: ranks 0 and 1 have 0" in text for *_, text in results)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.head = nn.Linear(8, 11, bias=False)
        self.register_buffer("scale", torch.linspace(1, 2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x) * self.scale
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


def torchs_pipeline(rank: int, world: int) -> Any:
    """What torch.distributed.pipelining makes of a model on the meta device."""
    from torch.distributed.pipelining import ScheduleGPipe, SplitPoint, pipeline

    plan = initcfg.trace(Net)
    whole = Net()
    plan.apply(whole, seed=3)
    with torch.device("meta"):
        model = Net()
    example = torch.zeros(2, 3, dtype=torch.long, device="meta")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = pipeline(model, mb_args=(example,), split_spec={"layers.2": SplitPoint.BEGINNING})
    module = pipe.get_stage_module(rank)
    initcfg.materialize(module, plan=plan.part(module), seed=3, process_group=torch.distributed.group.WORLD)
    meant = tensors(whole)
    held = tensors(module)
    wrong = [name for name, tensor in held.items() if not torch.equal(tensor, meant[name])]
    schedule = ScheduleGPipe(pipe.build_stage(rank, torch.device("cpu")), 2)
    numbers = torch.arange(12).view(4, 3) % 11
    out = schedule.step(numbers) if rank == 0 else schedule.step()
    return sorted(held), wrong, rank == 0 or torch.equal(out, whole(numbers))


def test_torchs_own_stages() -> None:
    results = values_of(run_ranks(2, torchs_pipeline, timeout=120))
    names = [name for held, *_ in results for name in held]
    assert sorted(names) == sorted(tensors(Net()))
    for _, wrong, same in results:
        assert wrong == []
        assert same


def others_meshes(rank: int, world: int) -> Any:
    """Each rank knows of both stages, and holds nothing of the other's."""
    meshes = [DeviceMesh("cpu", [0, 1]), DeviceMesh("cpu", [2, 3])]
    layers = [nn.Linear(3, 5), nn.Linear(3, 7)]
    plain = nn.Sequential(*(nn.Linear(each.in_features, each.out_features) for each in layers))
    model = nn.Sequential(*layers)
    plan = initcfg.plan(plain, dict(type="Normal", layer="Linear", std=0.02, bias=0.5))
    plan.apply(plain, seed=3)
    for layer, mesh in zip(layers, meshes, strict=True):
        for name, parameter in list(layer.named_parameters()):
            layer.register_parameter(name, nn.Parameter(distribute_tensor(parameter, mesh, [Shard(0)])))
    plan.apply(model, seed=3)
    stage, first = rank // 2, (rank % 2) * -(-layers[rank // 2].out_features // 2)
    mine = model[stage].weight.to_local()  # type: ignore[operator, union-attr]
    other = model[1 - stage].weight.to_local()  # type: ignore[operator, union-attr]
    meant = plain[stage].weight[first : first + len(mine)]  # type: ignore[index]
    return len(mine), torch.equal(mine, meant), other.numel()


def test_a_rank_that_holds_nothing_of_a_mesh() -> None:
    results = values_of(run_ranks(4, others_meshes))
    assert results == [(3, True, 0), (2, True, 0), (4, True, 0), (3, True, 0)]


# -- without processes ---------------------------------------------------------------------------


def test_a_tie_between_stages_has_the_numbers_of_the_whole() -> None:
    whole, plan = whole_and_plan()
    module, named = counted_anew(1)
    part = plan.part(module, **named)
    value = part["head.weight"].value
    assert isinstance(value, CopyOf)
    assert value.source == "embed.weight"
    initcfg.materialize(module, plan=part, seed=3)
    assert torch.equal(module.head.weight, whole["embed.weight"])  # type: ignore[union-attr]


def test_a_part_of_a_part() -> None:
    whole, plan = whole_and_plan()
    module, named = counted_anew(1)
    part = plan.part(module, **named)
    block = module.blocks[0]  # type: ignore[index]
    inner = part.part(block, name_prefix="blocks.0.")
    assert inner.whole == part.whole == plan.digest
    initcfg.materialize(block, plan=inner, seed=3)
    for name, tensor in tensors(block).items():
        assert torch.equal(tensor, whole[f"blocks.1.{name}"])


@pytest.mark.parametrize(
    ("part", "named", "says"),
    [
        (lambda: Llama().blocks[0], {}, "has no tensor 'attention_norm.weight'"),
        (
            lambda: Llama().blocks[0],
            dict(name_prefix="blocks.7."),
            "no tensor 'blocks.7.attention_norm.weight'",
        ),
        (
            lambda: Llama(experts=3).blocks[0],
            dict(name_prefix="blocks.0."),
            "'blocks.0.experts.up' is float32",
        ),
        (
            lambda: built("llama", torch.float64).blocks[0],
            dict(name_prefix="blocks.0."),
            "here it is float64",
        ),
        (lambda: "blocks", {}, "not of the text 'blocks'"),
    ],
)
def test_parts_of_another_model(part: Callable[[], Any], named: dict[str, Any], says: str) -> None:
    plan = initcfg.trace(lambda: built("llama"))
    with pytest.raises(errors.PlanError, match=says):
        plan.part(part(), **named)


def test_code_of_the_whole_cannot_be_a_parts() -> None:
    plan = initcfg.trace(lambda: built("kinds"))
    with pytest.raises(errors.PlanError, match="code of the whole model's, which a part cannot run"):
        plan.part(built("kinds"))
