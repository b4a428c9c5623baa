"""FSDP2: a model built without memory, sharded, and initialized shard by shard.

    torchrun --nproc-per-node 4 examples/scale/fsdp2.py

The digest is the same for any number of processes, as it is for one process without any sharding.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from llama import Llama, batch, digest, finish, loss_of, say, start, tensors_of
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import initcfg

SEED = 0


def main() -> None:
    device = start()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))

    # The plan says what the constructor would do. It needs no memory, and no process but this.
    plan = initcfg.trace(Llama)

    # 1. Build. Nothing is allocated, and nothing is drawn.
    with torch.device("meta"):
        model = Llama()

    # 2. Shard.
    for block in model.layers.values():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)

    # 3. Memory and numbers, a rank its shards alone. Buffers too.
    ledger = initcfg.materialize(model, plan=plan, seed=SEED)
    say(ledger)

    found = tensors_of(model)
    alone = Llama()
    plan.apply(alone, seed=SEED)
    assert digest(found) == digest(tensors_of(alone))
    say("digest", digest(found))

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        tokens = batch(0, device, dist.get_rank())
        loss = loss_of(model(tokens[:, :-1]), tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    say("loss", *(f"{loss:.3f}" for loss in losses))
    assert losses[-1] < losses[0]
    finish()


if __name__ == "__main__":
    main()
