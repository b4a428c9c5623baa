"""Tensor parallelism and FSDP2 on a mesh of two dimensions, with sequence-parallel norms.

    torchrun --nproc-per-node 4 examples/scale/tensor_parallel.py

The digest is that of fsdp2.py: how a model is cut says nothing about what it holds.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from llama import Llama, batch, digest, finish, loss_of, say, start, tensors_of
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

import initcfg

SEED = 0


def parallelize(model: Llama, dp: DeviceMesh, tp: DeviceMesh) -> None:
    """Cut the layers over the mesh ``tp``, and what is left of them over ``dp``."""
    parallelize_module(
        model,
        tp,
        {
            "tok_embeddings": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
            "norm": SequenceParallel(),
            "output": ColwiseParallel(input_layouts=Shard(1), output_layouts=Replicate()),
        },
    )
    for block in model.layers.values():
        parallelize_module(
            block,
            tp,
            {
                "attention_norm": SequenceParallel(),
                "attention": PrepareModuleInput(
                    input_layouts=(Shard(1), None), desired_input_layouts=(Replicate(), None)
                ),
                "attention.w[qkv]": ColwiseParallel(),
                "attention.wo": RowwiseParallel(output_layouts=Shard(1)),
                "ffn_norm": SequenceParallel(),
                "feed_forward": PrepareModuleInput(
                    input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)
                ),
                "feed_forward.w[13]": ColwiseParallel(),
                "feed_forward.w2": RowwiseParallel(output_layouts=Shard(1)),
            },
        )
        fully_shard(block, mesh=dp)
    fully_shard(model, mesh=dp)


def main() -> None:
    device = start()
    world = dist.get_world_size()
    tensor_ranks = 2 if world % 2 == 0 else 1
    mesh = init_device_mesh(device.type, (world // tensor_ranks, tensor_ranks), mesh_dim_names=("dp", "tp"))

    plan = initcfg.trace(Llama)
    with torch.device("meta"):
        model = Llama()
    parallelize(model, mesh["dp"], mesh["tp"])
    initcfg.materialize(model, plan=plan, seed=SEED)
    say("layout of w2:", *layout(model.layers["0"].feed_forward.w2))

    found = tensors_of(model)
    alone = Llama()
    plan.apply(alone, seed=SEED)
    assert digest(found) == digest(tensors_of(alone))
    say("digest", digest(found))

    # The same model: on the same tokens it has the same loss, but for the order of sums.
    tokens = batch(0, device)
    loss = loss_of(model(tokens[:, :-1]), tokens)
    expected = loss_of(alone.to(device)(tokens[:, :-1]), tokens)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    say(f"loss {loss.item():.4f}, of the whole model {expected.item():.4f}")
    finish()


def layout(layer: nn.Linear) -> tuple[object, ...]:
    """The shape of a weight, the shape of what this rank has of it, and its placements."""
    weight = layer.weight
    return tuple(weight.shape), "here", tuple(weight.to_local().shape), weight.placements  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
