"""What the ranks of the tests of streaming do, each in a process of its own."""

from __future__ import annotations

import os
import signal

import torch
import torch.distributed
from streaming_models import RULES, all_bits, applied, pending

import initcfg
from initcfg._apply.streaming import writer
from initcfg._apply.streaming.making import Maker
from initcfg.errors import OutputError


def save(rank: int, world: int, folder: str, different: dict | None = None, **options) -> dict:
    """Write a checkpoint together; what this rank's maker made, and its ledger."""
    del world
    made: list[str] = []
    put, write = Maker.put, writer.Writer.write

    def noted(self, into, item, piece):
        made.append(item.key)
        put(self, into, item, piece)

    Maker.put = noted
    try:
        model = pending()
        rules = RULES
        if different and rank == different["rank"]:
            options |= {name: item for name, item in different.items() if name in ("seed", "dtype")}
            rules = [*RULES, dict(type="Normal", layer="Conv2d", std=9.0)] if "plan" in different else RULES
            if "fails" in different:
                writer.Writer.write = failing
            if "dies" in different:
                writer.Writer.write = dying
        plan = initcfg.plan(model, rules)
        group = torch.distributed.group.WORLD
        ledger = plan.save_weights(folder, model, **{"seed": 7, **options}, process_group=group)
        return {"made": sorted(set(made)), "ledger": ledger.to_json()}
    finally:
        # The process serves other tests, too.
        Maker.put, writer.Writer.write = put, write


def failing(self, shard) -> None:
    raise OutputError(f"{shard.name} cannot be written: No space left on device.")


def dying(self, shard) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def load(rank: int, world: int, folder: str) -> bool:
    """Load a DCP folder into a model that is sharded over the ranks; whether it is what apply makes."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    del rank
    mesh = init_device_mesh("cpu", (world,))
    wanted = applied(7)[0].state_dict()
    state = {
        key: distribute_tensor(torch.zeros_like(tensor), mesh, [Shard(0)]) if tensor.dim() else tensor.clone()
        for key, tensor in wanted.items()
    }
    dcp.load(state, checkpoint_id=folder)
    full = {key: each.full_tensor() if isinstance(each, DTensor) else each for key, each in state.items()}
    return all_bits(full) == all_bits(wanted)
