"""Blocks by arithmetic: against torch's own splitting, over any shapes, meshes and placements."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from initcfg._model.shards import IndexRun, runs_of
from initcfg.errors import TensorError


@st.composite
def layouts(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], list[Any]]:
    """A shape, a mesh and placements."""
    shape = tuple(draw(st.lists(st.integers(0, 11), min_size=1, max_size=3)))
    mesh = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    kinds = st.one_of(st.just(Replicate()), st.builds(Shard, st.integers(0, len(shape) - 1)))
    return shape, mesh, draw(st.lists(kinds, min_size=len(mesh), max_size=len(mesh)))


def numbers(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(math.prod(shape)).view(shape)


def taken(whole: torch.Tensor, runs: list[list[IndexRun]]) -> torch.Tensor:
    """What the runs say that a rank holds."""
    for dim, each in enumerate(runs):
        indices = [index for first, length in each for index in range(first, first + length)]
        whole = whole.index_select(dim, torch.tensor(indices, dtype=torch.long))
    return whole


def chunk(tensor: torch.Tensor, count: int, index: int, dim: int) -> torch.Tensor:
    """One of torch's own chunks; those that it leaves away are empty."""
    return Shard(dim)._split_tensor(tensor, count, with_padding=False)[0][index]


@settings(max_examples=300, deadline=None)
@given(layouts())
def test_blocks_are_torchs_own_and_cover_the_tensor(layout: Any) -> None:
    shape, mesh, placements = layout
    whole, count = numbers(shape), torch.zeros(math.prod(shape), dtype=torch.long)
    for coordinate in itertools.product(*map(range, mesh)):
        meant = whole
        for size, at, placement in zip(mesh, coordinate, placements, strict=True):
            if not placement.is_replicate():
                meant = chunk(meant, size, at, placement.dim)
        found = taken(whole, runs_of(shape, mesh, coordinate, placements, tuple(meant.shape)))
        assert torch.equal(found, meant)
        count[found.flatten()] += 1
    replicas = math.prod(size for size, each in zip(mesh, placements, strict=True) if each.is_replicate())
    assert bool((count == replicas).all())


@settings(max_examples=300, deadline=None)
@given(
    rows=st.integers(0, 40),
    replicas=st.integers(1, 2),
    shards=st.integers(1, 5),
    cuts=st.integers(2, 5),
    column=st.booleans(),
)
def test_fsdp_shards_what_tensor_parallelism_has_left(
    rows: int, replicas: int, shards: int, cuts: int, column: bool
) -> None:
    """Placements are written left to right, and FSDP came last: ``_StridedShard`` says so."""
    whole = numbers((rows, 3))
    strided = _StridedShard(0, split_factor=cuts) if column else Shard(0)
    placements = [Replicate(), strided, Shard(0 if column else 1)]
    count = torch.zeros(rows * 3, dtype=torch.long)
    for coordinate in itertools.product(range(replicas), range(shards), range(cuts)):
        left = chunk(whole, cuts, coordinate[2], 0 if column else 1)
        meant = chunk(left, shards, coordinate[1], 0)
        found = taken(
            whole, runs_of((rows, 3), (replicas, shards, cuts), coordinate, placements, tuple(meant.shape))
        )
        assert torch.equal(found, meant)
        count[found.flatten()] += 1
    assert bool((count == replicas).all())


@settings(max_examples=200, deadline=None)
@given(rows=st.integers(0, 40), factor=st.integers(1, 5), count=st.integers(1, 5))
def test_a_strided_shard_alone_is_torchs_own(rows: int, factor: int, count: int) -> None:
    """As views make it: no dimension of the mesh to the right has cut this one."""
    placement = _StridedShard(0, split_factor=factor)
    whole = numbers((rows,))
    split = placement._split_tensor(whole, count, with_padding=False)[0]
    for index in range(count):
        found = taken(whole, runs_of((rows,), (count,), (index,), [placement], tuple(split[index].shape)))
        assert torch.equal(found, split[index])


def test_a_shard_of_another_shape_than_its_placement_says() -> None:
    with pytest.raises(TensorError, match=r"holds \(4, 2\) of a tensor.*says \(3, 2\)"):
        runs_of((6, 2), (2,), (0,), [Shard(0)], (4, 2))
