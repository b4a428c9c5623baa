"""Experts: stacked in one tensor, cut over a mesh dimension of their own, and sharded over the other.

    torchrun --nproc-per-node 4 examples/scale/experts.py

Each expert is initialized by its own shape; which rank holds it says nothing about its numbers.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from llama import digest, finish, say, start, tensors_of
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_module, distribute_tensor
from torch.nn import functional

import initcfg

EXPERTS, WIDTH, HIDDEN, SEED = 8, 32, 48, 0


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(EXPERTS, WIDTH, HIDDEN))
        self.down = nn.Parameter(torch.empty(EXPERTS, HIDDEN, WIDTH))
        for weight in (self.up, self.down):
            for expert in range(EXPERTS):
                nn.init.xavier_uniform_(weight[expert])

    def forward(self, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """The experts that are here, each on all tokens, weighted by the shares of all experts."""
        up, down = (each.to_local() if isinstance(each, DTensor) else each for each in (self.up, self.down))
        first = self.up.device_mesh.get_local_rank() * len(up) if isinstance(self.up, DTensor) else 0
        hidden = functional.silu(torch.einsum("td,edh->eth", x, up))
        mine = shares[:, first : first + len(up)]
        found = torch.einsum("eth,ehd,te->td", hidden, down, mine)
        if isinstance(self.up, DTensor):
            # For inference. A library of experts sends tokens to them instead, and learns.
            dist.all_reduce(found, group=self.up.device_mesh.get_group())
        return found


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.router = nn.Linear(WIDTH, EXPERTS, bias=False)
        self.experts = Experts()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        return x + self.experts(normed, self.router(normed).softmax(-1))


def cut_experts(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
    """Each rank of the mesh gets some of the experts."""
    for key, parameter in list(module.named_parameters(recurse=False)):
        module.register_parameter(key, nn.Parameter(distribute_tensor(parameter, mesh, [Shard(0)])))


def main() -> None:
    device = start()
    world = dist.get_world_size()
    expert_ranks = 2 if world % 2 == 0 else 1
    mesh = init_device_mesh(device.type, (world // expert_ranks, expert_ranks), mesh_dim_names=("dp", "ep"))

    plan = initcfg.trace(Mixture)
    with torch.device("meta"):
        model = Mixture()
    distribute_module(model.experts, mesh["ep"], cut_experts)
    # An expert is cut along its width: there may be more ranks than experts.
    fully_shard(model.experts, mesh=mesh["dp"], shard_placement_fn=lambda parameter: Shard(1))
    fully_shard(model, mesh=mesh["dp"])
    initcfg.materialize(model, plan=plan, seed=SEED)
    up = model.experts.up
    say("experts", tuple(up.shape), "here", tuple(up.to_local().shape), up.placements)  # type: ignore[attr-defined]

    found = tensors_of(model)
    alone = Mixture()
    plan.apply(alone, seed=SEED)
    assert digest(found) == digest(tensors_of(alone))
    say("digest", digest(found))

    x = torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(1)).to(device)
    with torch.no_grad():
        torch.testing.assert_close(model(x), alone.to(device)(x))
    say("the same output as of the whole model")
    finish()


if __name__ == "__main__":
    main()
