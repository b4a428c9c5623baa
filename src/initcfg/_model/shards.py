"""Shards: which rectangular blocks of a global tensor a rank holds, and the ranks that hold the others.

The layout is PyTorch's own: a DTensor, its mesh and its placements. The blocks follow from these alone, so
nothing is communicated. Along each dimension, a rank holds runs of indices; a block is a product of runs.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import nn

from initcfg._model.contents import modules_of
from initcfg._stream.writing import Block, narrowed
from initcfg.errors import ApplyError, TensorError

IndexRun = tuple[int, int]
"""Indices that follow each other: the first, and how many."""

_MAKE_SHARDS = "Let distribute_tensor or fully_shard make the shards."


class LocalBlock(NamedTuple):
    """A rectangular part of a rank's tensor, and where in the global tensor it lies."""

    tensor: torch.Tensor
    block: Block


class HeldBlock(NamedTuple):
    """A block that a rank holds: where it begins in the global tensor, and how long it is along each axis."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


def is_sharded(tensor: torch.Tensor) -> TypeGuard[Any]:
    """Whether a tensor is a DTensor; replicated ones count too."""
    if type(tensor) is torch.nn.Parameter:
        return False
    # Where its module is not loaded, there is none.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_of(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that holds this rank's numbers."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()


def local_blocks(tensor: torch.Tensor) -> list[LocalBlock]:
    """What this rank holds of a tensor: blocks that together are its local tensor.

    A tensor that is not a DTensor is one block.
    """
    if not is_sharded(tensor):
        return [LocalBlock(tensor, Block.whole(tensor.shape))]
    local, mesh = local_of(tensor), tensor.device_mesh
    coordinate = mesh.get_coordinate()
    if coordinate is None or local.numel() == 0:
        return []
    _check_order(tensor)
    runs = runs_of(tuple(tensor.shape), tuple(mesh.shape), coordinate, tensor.placements, tuple(local.shape))
    return [
        LocalBlock(narrowed(local, starts, sizes), Block(tuple(tensor.shape), offsets))
        for starts, offsets, sizes in _products(runs)
    ]


def runs_of(
    shape: Sequence[int],
    mesh_shape: Sequence[int],
    coordinate: Sequence[int],
    placements: Sequence[Any],
    local_shape: Sequence[int] | None = None,
) -> list[list[IndexRun]]:
    """The runs of indices that a rank at ``coordinate`` of a mesh holds, dimension by dimension.

    The shape of its local tensor, where there is one, decides between the two orders of :func:`_runs`.

    Example:
        >>> from torch.distributed.tensor import Replicate, Shard
        >>> from initcfg._model.shards import runs_of
        >>> runs_of((10, 4), (2, 4), (1, 2), (Replicate(), Shard(0)))
        [[(6, 3)], [(0, 4)]]
    """
    for placement in placements:
        _check(placement, shape)
    for inner_first in (True, False):
        runs = _runs(shape, mesh_shape, coordinate, placements, inner_first=inner_first)
        if local_shape is None or tuple(map(_total, runs)) == tuple(local_shape):
            return runs
    raise TensorError(
        f"A rank at {tuple(coordinate)} of a mesh of {tuple(mesh_shape)} holds {tuple(local_shape or ())} of "
        f"a tensor that is placed as {tuple(placements)}, which says {tuple(map(_total, runs))}.",
        shape=tuple(shape),
        fix=_MAKE_SHARDS,
    )


def blocks_of_ranks(tensor: Any) -> dict[int, tuple[HeldBlock, ...]] | None:
    """The blocks of a DTensor that each rank of its mesh holds.

    None where the placements alone do not tell: there each rank knows of itself only.
    """
    mesh = tensor.device_mesh
    _check_order(tensor)
    ranks = tuple(mesh.mesh.flatten().tolist())
    return _blocks_of_ranks(tuple(tensor.shape), tuple(mesh.shape), ranks, tuple(tensor.placements))


@functools.lru_cache(maxsize=256)
def _blocks_of_ranks(
    shape: tuple[int, ...], mesh_shape: tuple[int, ...], ranks: tuple[int, ...], placements: tuple[Any, ...]
) -> dict[int, tuple[HeldBlock, ...]] | None:
    found: dict[int, tuple[HeldBlock, ...]] = {}
    coordinates = itertools.product(*map(range, mesh_shape))
    for rank, coordinate in zip(ranks, coordinates, strict=True):
        one, other = (
            _runs(shape, mesh_shape, coordinate, placements, inner_first=first) for first in (True, False)
        )
        if one != other:
            return None
        found[rank] = tuple(HeldBlock(offsets, sizes) for _, offsets, sizes in _products(one))
    return found


def _check_order(tensor: Any) -> None:
    # torch can note that a tensor was cut along the mesh in another order than its dimensions are written in.
    for entry in getattr(getattr(tensor, "_spec", None), "shard_order", None) or ():
        if list(entry.mesh_dims) != sorted(entry.mesh_dims):
            raise TensorError(
                f"Dimension {entry.tensor_dim} of a tensor is sharded over the dimensions {entry.mesh_dims} "
                "of its mesh in this order, which is not supported.",
                shape=tuple(tensor.shape),
                fix=_MAKE_SHARDS,
            )


def _check(placement: Any, shape: Sequence[int]) -> None:
    if placement.is_partial():
        raise TensorError(
            f"A tensor placed as {placement} is a sum that has not been made yet: no rank holds its numbers.",
            shape=tuple(shape),
            fix="Redistribute it first: tensor.redistribute(placements=[Replicate()]).",
        )
    if not placement.is_replicate() and not isinstance(getattr(placement, "dim", None), int):
        raise TensorError(f"The placement {placement} is not known.", shape=tuple(shape))


def _runs(
    shape: Sequence[int],
    mesh_shape: Sequence[int],
    coordinate: Sequence[int],
    placements: Sequence[Any],
    *,
    inner_first: bool,
) -> list[list[IndexRun]]:
    """The runs by the placements, left to right; or, for FSDP over other shards, in the order it was done.

    FSDP shards what tensor parallelism has left on a rank, so the strided shard to the left comes last. Both
    orders give the same blocks but where the sizes do not divide.
    """
    runs: list[list[IndexRun]] = [[(0, size)] for size in shape]
    strided: list[tuple[int, Any]] = []
    for axis, placement in enumerate(placements):
        if placement.is_replicate():
            continue
        factor = getattr(placement, "split_factor", 1)
        # Into how many shards the mesh dimensions further right cut this one.
        further = zip(mesh_shape[axis + 1 :], placements[axis + 1 :], strict=False)
        after = math.prod(
            size for size, other in further if not other.is_replicate() and other.dim == placement.dim
        )
        if inner_first and factor == after > 1:
            strided.insert(0, (axis, placement))
            continue
        parts = [_chunk(runs[placement.dim], factor, index) for index in range(factor)]
        runs[placement.dim] = [
            run for part in parts for run in _chunk(part, mesh_shape[axis], coordinate[axis])
        ]
    for axis, placement in strided:
        runs[placement.dim] = _chunk(runs[placement.dim], mesh_shape[axis], coordinate[axis])
    return [_joined(each) for each in runs]


def _chunk(runs: Sequence[IndexRun], count: int, index: int) -> list[IndexRun]:
    """One of ``count`` chunks of the runs, as ``torch.chunk`` cuts: the last are shorter, or empty."""
    size = -(-_total(runs) // count)
    chunk: list[IndexRun] = []
    before = 0
    for first, length in runs:
        low, high = max(size * index - before, 0), min(size * (index + 1) - before, length)
        if low < high:
            chunk.append((first + low, high - low))
        before += length
    return chunk


def _joined(runs: Iterable[IndexRun]) -> list[IndexRun]:
    """The runs, with those that follow on each other made one."""
    joined: list[IndexRun] = []
    for first, length in runs:
        if joined and sum(joined[-1]) == first:
            first, before = joined.pop()
            length += before
        joined.append((first, length))
    return joined


def _total(runs: Iterable[IndexRun]) -> int:
    return sum(length for _, length in runs)


def _products(runs: Sequence[Sequence[IndexRun]]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """For each block: where it begins in the local tensor, where in the global one, and its sizes."""
    placed: list[list[tuple[int, int, int]]] = []
    for each in runs:
        starts = itertools.accumulate((length for _, length in each), initial=0)
        placed.append([(at, *run) for at, run in zip(starts, each, strict=False)])
    for product in itertools.product(*placed):
        yield tuple(zip(*product, strict=True)) or ((), (), ())


def stored_in(model: nn.Module) -> list[torch.Tensor]:
    """The tensors of a model, under as many names as they have."""
    containers = (each for module in modules_of(model) for each in (module._parameters, module._buffers))
    return [tensor for container in containers for tensor in container.values() if tensor is not None]


def rank_sets(tensors: Iterable[torch.Tensor]) -> list[tuple[int, ...]]:
    """The sets of ranks that hold shards of these tensors, in the order in which they are met.

    Only those that this rank is in: a stage of a pipeline may know of the others' meshes.
    """
    # Nearly all are none, which their type tells.
    sharded = [tensor for tensor in tensors if type(tensor) is not torch.nn.Parameter and is_sharded(tensor)]
    meshes = {id(tensor.device_mesh): tensor.device_mesh for tensor in sharded}
    ours = [mesh for mesh in meshes.values() if mesh.get_coordinate() is not None]
    return list(dict.fromkeys(tuple(mesh.mesh.flatten().tolist()) for mesh in ours))


def hold_shards(model: nn.Module) -> None:
    """Let each module of FSDP2 hold its shards again.

    After a forward without backward, the outermost one keeps whole parameters in their place; what is
    written to these is lost when the shards come back.
    """
    for module in _fully_sharded(model):
        module.reshard()
        # That does nothing after a forward that was broken off.
        state = module._get_fsdp_state()
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for group in filter(None, groups):
            group._to_sharded()


def note_shards(model: nn.Module) -> None:
    """Tell each module of FSDP2 that its shards lie elsewhere now."""
    for module in _fully_sharded(model):
        try:
            # The class's own method: that of a pending model is closed.
            type(module)._apply(module, lambda tensor: tensor, recurse=False)
        except (AssertionError, RuntimeError) as error:
            raise ApplyError(
                f"FSDP2 does not take the shards of {type(module).__name__}: {error}",
                fix="This is a layout that torch cannot bring from the meta device. Shard along another "
                "dimension, or build the model with memory: initcfg.deferred() does not fill it.",
            ) from error


def _fully_sharded(model: nn.Module) -> Iterator[Any]:
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    if kind is not None:
        yield from (module for module in modules_of(model) if isinstance(module, kind))
