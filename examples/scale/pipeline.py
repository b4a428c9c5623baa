"""A pipeline: each stage holds some of the layers, and gets what the whole model would have there.

    torchrun --nproc-per-node 4 examples/scale/pipeline.py           # two stages, each sharded
    torchrun --nproc-per-node 4 examples/scale/pipeline.py renumber  # stages that count their layers from 0

The digest over all stages is that of fsdp2.py.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from llama import DEPTH, Llama, batch, digest, finish, loss_of, say, start, tensors_of
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

import initcfg

SEED = 0


def stage_of(model: Llama, index: int, stages: int, *, renumber: bool) -> tuple[Llama, dict[str, str]]:
    """What a stage has of the model; and for the layers that it renames, their names in the whole."""
    mine = range(index * DEPTH // stages, (index + 1) * DEPTH // stages)
    layers = {str(number): model.layers[str(number)] for number in mine}
    renamed: dict[str, str] = {}
    if renumber:
        renamed = {f"layers.{here}": f"layers.{there}" for here, there in enumerate(mine)}
        layers = {str(here): layer for here, layer in enumerate(layers.values())}
    model.layers = nn.ModuleDict(layers)
    if index > 0:
        model.tok_embeddings = None
    if index < stages - 1:
        model.norm = model.output = None
    return model, renamed


def main(*, renumber: bool = False) -> None:
    device = start()
    world = dist.get_world_size()
    stages = DEPTH if world % DEPTH == 0 else 1
    mesh = init_device_mesh(device.type, (stages, world // stages), mesh_dim_names=("pp", "dp"))

    plan = initcfg.trace(Llama)
    with torch.device("meta"):
        model = Llama()
    stage, renamed = stage_of(model, mesh["pp"].get_local_rank(), stages, renumber=renumber)
    part = plan.part(stage, name_map=renamed)
    for block in stage.layers.values():
        fully_shard(block, mesh=mesh["dp"])
    fully_shard(stage, mesh=mesh["dp"])
    # The meshes join the ranks of one stage. All ranks shall agree on seed and plan, so their group is given.
    initcfg.materialize(stage, plan=part, seed=SEED, process_group=dist.group.WORLD)

    found = all_stages(tensors_of(stage), renamed)
    alone = Llama()
    plan.apply(alone, seed=SEED)
    assert digest(found) == digest(tensors_of(alone))
    say("digest", digest(found))

    # One step of a pipeline schedule, and the whole model's loss on the same tokens.
    losses: list[torch.Tensor] = []
    pipe = PipelineStage(stage, mesh["pp"].get_local_rank(), stages, device, group=mesh["pp"].get_group())
    schedule = ScheduleGPipe(pipe, n_microbatches=2, loss_fn=loss_of)
    tokens = batch(0, device, mesh["dp"].get_local_rank())
    first = (tokens[:, :-1],) if pipe.is_first else ()
    schedule.step(*first, target=tokens, losses=losses) if pipe.is_last else schedule.step(*first)
    assert all(parameter.grad is not None for parameter in stage.parameters())
    if pipe.is_last:
        expected = loss_of(alone.to(device)(tokens[:, :-1]), tokens)
        torch.testing.assert_close(torch.stack(losses).mean(), expected)
    say("one step done")
    finish()


def all_stages(mine: dict[str, torch.Tensor], renamed: dict[str, str]) -> dict[str, torch.Tensor]:
    """The tensors of all stages, under their names in the whole model."""
    for here, there in renamed.items():
        mine = {
            name.replace(f"{here}.", f"{there}!", 1) if name.startswith(f"{here}.") else name: tensor
            for name, tensor in mine.items()
        }
    mine = {name.replace("!", "."): tensor for name, tensor in mine.items()}
    gathered: list[dict[str, torch.Tensor]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, mine)
    return {name: tensor for each in gathered for name, tensor in each.items()}


if __name__ == "__main__":
    main(renumber="renumber" in sys.argv[1:])
