"""A model with its own ``init_weights`` that is called once there is memory, as torchtitan's are.

    torchrun --nproc-per-node 4 examples/scale/own_init_weights.py

The usual flow is meta device, ``fully_shard``, ``to_empty``, ``init_weights``: there every rank draws for its
own shards, so that the weights depend on how many ranks there are. Here the same method is traced instead.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from llama import digest, finish, say, start, tensors_of
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import initcfg

WIDTH, DEPTH, LENGTH, SEED = 32, 3, 16, 0


class Block(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)
        self.std = 0.02 / (2 * (index + 1)) ** 0.5

    def init_weights(self) -> None:
        self.norm.reset_parameters()
        nn.init.trunc_normal_(self.up.weight, mean=0.0, std=0.02)
        nn.init.trunc_normal_(self.down.weight, mean=0.0, std=self.std)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, WIDTH)
        self.layers = nn.ModuleList(Block(index) for index in range(DEPTH))
        self.output = nn.Linear(WIDTH, 64, bias=False)
        self.register_buffer("positions", torch.empty(LENGTH, WIDTH), persistent=False)

    def init_weights(self, buffer_device: torch.device | None = None) -> None:
        """Called when the model has memory; what was computed on the meta device is computed again."""
        frequencies = 10000.0 ** (-torch.arange(0, WIDTH, 2, device=buffer_device) / WIDTH)
        angles = torch.outer(torch.arange(LENGTH, device=buffer_device), frequencies)
        self.positions = torch.cat([angles.sin(), angles.cos()], dim=-1)
        nn.init.normal_(self.embedding.weight)
        for layer in self.layers:
            layer.init_weights()  # type: ignore[operator]
        nn.init.trunc_normal_(self.output.weight, std=WIDTH**-0.5, a=-3 * WIDTH**-0.5, b=3 * WIDTH**-0.5)


def main() -> None:
    device = start()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    with torch.device("meta"):
        model = Decoder()
    # On the model without memory, before it is sharded: the method runs, and none of its writes are done.
    plan = initcfg.trace(lambda: model.init_weights(torch.device("cpu")), model)
    for block in model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    initcfg.materialize(model, plan=plan, seed=SEED)

    found = tensors_of(model)
    alone = Decoder()
    plan.apply(alone, seed=SEED)
    assert digest(found) == digest(tensors_of(alone))
    say("positions", found["positions"][1, :3])
    say("digest", digest(found))
    finish()


if __name__ == "__main__":
    main()
