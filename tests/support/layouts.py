"""Ways to lay a model out over ranks, and what each rank then holds, found out by torch itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from layout_models import Model
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

Layout = Callable[[Model], Any]
_NAMES = {1: ("dp",), 2: ("dp", "tp"), 3: ("replicate", "dp", "tp")}


# -- placing -------------------------------------------------------------------------------------


# Each mesh has process groups of its own, and each of gloo's has threads: dozens of meshes on eight ranks
# would be thousands.
_meshes: dict[tuple[Any, ...], tuple[Any, DeviceMesh]] = {}


def mesh_of(shape: tuple[int, ...], mesh_dim_names: tuple[str, ...] | None = None) -> DeviceMesh:
    """A mesh of this shape, made once for each run."""
    run = torch.distributed.group.WORLD
    found = _meshes.get((shape, mesh_dim_names))
    if found is None or found[0] is not run:
        found = _meshes[shape, mesh_dim_names] = (
            run,
            init_device_mesh("cpu", shape, mesh_dim_names=mesh_dim_names),
        )
    return found[1]


def sharded(model: Model, mesh: Any, **arguments: Any) -> None:
    """FSDP2: each block, then the rest."""
    for block in model.blocks:
        fully_shard(block, mesh=mesh, **arguments)
    fully_shard(model, mesh=mesh, **arguments)


def _cut(model: Model, mesh: Any, *, norms: bool = False) -> None:
    """Tensor parallelism."""
    for block in model.blocks:
        plan: dict[str, Any] = {name: ColwiseParallel() for name in model.columns}
        plan |= {name: RowwiseParallel() for name in model.rows}
        if norms:
            plan |= {name: SequenceParallel() for name in model.norms}
        parallelize_module(block, mesh, plan)


def _place(model: nn.Module, place: Callable[[str, torch.Tensor], torch.Tensor | None]) -> None:
    """Put something else in the place of tensors; what was one stays one."""
    made: dict[int, torch.Tensor | None] = {}
    for path, module in list(model.named_modules()):
        for kept in (module._parameters, module._buffers):
            for name, tensor in list(kept.items()):
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    new = place(f"{path}.{name}".lstrip("."), tensor)
                    if new is not None and isinstance(tensor, nn.Parameter):
                        new = nn.Parameter(new, requires_grad=tensor.requires_grad)
                    made[id(tensor)] = new
                if (found := made[id(tensor)]) is not None:
                    kept[name] = found


def fsdp(model: Model) -> None:
    sharded(model, mesh_of((torch.distributed.get_world_size(),)))


def fsdp_along_1(model: Model) -> None:
    """Along dimension 1, where it divides (FSDP2 wants that), else along dimension 0."""
    world = torch.distributed.get_world_size()

    def where(parameter: nn.Parameter) -> Shard:
        return Shard(1 if parameter.ndim > 1 and parameter.shape[1] % world == 0 else 0)

    sharded(model, mesh_of((world,)), shard_placement_fn=where)


def hsdp(*shape: int) -> Layout:
    """Replicas of shards."""
    return lambda model: sharded(model, mesh_of(shape, mesh_dim_names=("replicate", "shard")))


def tp(model: Model) -> None:
    _cut(model, mesh_of((torch.distributed.get_world_size(),)))


def tp_sequence(model: Model) -> None:
    _cut(model, mesh_of((torch.distributed.get_world_size(),)), norms=True)


def fsdp_over_tp(*shape: int, norms: bool = False) -> Layout:
    """Two dimensions; three with replicas."""

    def lay(model: Model) -> None:
        mesh = mesh_of(shape, mesh_dim_names=_NAMES[len(shape)])
        _cut(model, mesh["tp"], norms=norms)
        sharded(model, mesh["dp"] if len(shape) == 2 else mesh["replicate", "dp"])

    return lay


def experts(*shape: int, along: int = 1) -> Layout:
    """Stacked experts over one dimension of the mesh, FSDP2 over the other, along another dimension."""

    def lay(model: Model) -> None:
        mesh = mesh_of(shape, mesh_dim_names=("dp", "ep"))

        def place(name: str, tensor: torch.Tensor) -> torch.Tensor | None:
            own = any(name.endswith(each) for each in model.experts)
            return distribute_tensor(tensor, mesh["ep"], [Shard(0)]) if own else None

        def where(parameter: nn.Parameter) -> Shard:
            even = parameter.ndim == 3 and parameter.shape[along] % shape[0] == 0
            return Shard(along if even else 0)

        _place(model, place)
        sharded(model, mesh["dp"], shard_placement_fn=where)

    return lay


def placed(*shape: int, seed: int = 0) -> Layout:
    """Each parameter and buffer anywhere, by ``distribute_tensor``."""

    def lay(model: Model) -> None:
        mesh = mesh_of(shape)
        choice = random.Random(f"{shape} {seed}")

        def place(_: str, tensor: torch.Tensor) -> torch.Tensor:
            kinds = [Replicate(), *(Shard(dim) for dim in range(tensor.ndim))]
            return distribute_tensor(tensor, mesh, [choice.choice(kinds) for _ in shape])

        _place(model, place)

    return lay


LAYOUTS: dict[int, dict[str, Layout]] = {
    1: {"fsdp": fsdp, "placed": placed(1), "placed in 3": placed(1, 1, 1)},
    2: {
        "fsdp": fsdp,
        "along 1": fsdp_along_1,
        "tp": tp,
        "tp, sequence": tp_sequence,
        "hsdp": hsdp(2, 1),
        "fsdp over tp of 1": fsdp_over_tp(2, 1),
        "placed": placed(2),
        "placed in 2": placed(1, 2),
    },
    3: {"fsdp": fsdp, "tp": tp, "experts": experts(1, 3), "placed": placed(3), "placed in 2": placed(3, 1)},
    4: {
        "fsdp": fsdp,
        "along 1": fsdp_along_1,
        "hsdp": hsdp(2, 2),
        "fsdp over tp": fsdp_over_tp(2, 2, norms=True),
        "tp of 4": fsdp_over_tp(1, 4),
        "experts": experts(2, 2),
        "experts along 0": experts(2, 2, along=0),
        "placed": placed(2, 2),
        "placed in 3": placed(2, 1, 2),
    },
    8: {
        "fsdp": fsdp,
        "fsdp over tp": fsdp_over_tp(4, 2),
        "fsdp over wide tp": fsdp_over_tp(2, 4),
        "hsdp over tp": fsdp_over_tp(2, 2, 2),
        "experts": experts(2, 4),
        "placed": placed(2, 2, 2),
        "placed in 2": placed(4, 2),
    },
}


# -- what torch made of it -----------------------------------------------------------------------


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, under each of their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def local(tensor: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def indices(model: Model, layout: Layout) -> dict[str, torch.Tensor]:
    """For each tensor, the indices in the whole of the elements that this rank holds.

    The model is filled with the numbers of its elements, and torch shards it.
    """

    def counted(_: str, tensor: torch.Tensor) -> torch.Tensor:
        return torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape)

    _place(model, counted)
    layout(model)
    return {name: local(tensor).long() for name, tensor in tensors(model).items()}


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def differences(model: nn.Module, whole: dict[str, torch.Tensor], held: dict[str, torch.Tensor]) -> list[str]:
    """The tensors of which this rank holds something else than that part of the whole."""
    found = tensors(model)
    wrong = sorted({*found} ^ {*whole})
    for name in found.keys() & whole.keys():
        here, full, which = local(found[name]), whole[name].detach(), held[name]
        meant = full.reshape(-1)[which.reshape(-1)].view(which.shape)
        if here.dtype != meant.dtype or here.shape != meant.shape or not torch.equal(bits(here), bits(meant)):
            wrong.append(name)
    return wrong


def gathered_differences(model: nn.Module, whole: dict[str, torch.Tensor]) -> list[str]:
    """The same, as torch gathers the whole."""
    return [
        name
        for name, tensor in tensors(model).items()
        if isinstance(tensor, DTensor)
        and not _torch_fails(tensor)
        and not torch.equal(bits(tensor.full_tensor()), bits(whole[name]))
    ]


def _torch_fails(tensor: DTensor) -> bool:
    """Where FSDP2 shards what another dimension of the mesh has left empty on some ranks: 5 experts over 4.

    There it loses the shape of the empty shard along its own dimension, and ``full_tensor`` of torch 2.13
    raises, while the other ranks wait.
    """
    cut = [(axis, each.dim) for axis, each in enumerate(tensor.placements) if not each.is_replicate()]
    sizes = [(tensor.shape[dim], tensor.device_mesh.size(axis)) for axis, dim in cut]
    return len(cut) > 1 and any((count - 1) * -(-size // count) >= size for size, count in sizes if count > 1)
