"""How tensors are divided into files, ranks and pieces."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initcfg._apply.streaming.dcp_writer import chunks, share
from initcfg._apply.streaming.items import Item
from initcfg._apply.streaming.making import pieces
from initcfg._apply.streaming.shard_files import Shard, divided, header, parsed_size, shards, weight_map
from initcfg._apply.streaming.world import World
from initcfg.errors import OutputError
from initcfg.values import Constant, Orthogonal

SHAPES = st.lists(st.integers(0, 7), max_size=4).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.bool])


def item(number: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, others=(), way="streamed"):
    return Item(f"t{number}", tuple(others), f"t{number}", shape, dtype, Constant(0.0), way)


ITEMS = st.lists(st.tuples(SHAPES, DTYPES), max_size=12).map(
    lambda given: [item(number, *each) for number, each in enumerate(given)]
)


@given(shape=SHAPES, most=st.integers(1, 50), rooms=st.lists(st.integers(0, 60), min_size=1))
def test_pieces_are_runs_of_the_tensor_in_order(shape, most, rooms):
    whole = torch.arange(math.prod(shape)).reshape(shape)
    at = 0
    room = itertools.cycle(rooms)
    for piece in pieces(shape, most, lambda: next(room)):
        assert 1 <= piece.elements <= most
        part = whole
        for dim, (offset, size) in enumerate(zip(piece.offsets, piece.sizes, strict=True)):
            part = part.narrow(dim, offset, size)
        assert part.reshape(-1).tolist() == list(range(at, at + piece.elements))
        at += piece.elements
    assert at == math.prod(shape)


def test_a_piece_fills_what_is_left_if_that_is_a_fourth():
    rooms = iter([3, 4, 5, 9, 12])
    found = [piece.elements for piece in pieces((30,), 12, lambda: next(rooms))]
    assert found == [3, 4, 5, 9, 9]
    rooms = iter([2, 5, 12, 3])
    assert [piece.elements for piece in pieces((6, 4), 12, lambda: next(rooms))] == [12, 4, 8]


@given(items=ITEMS, most=st.integers(1, 300))
def test_no_tensor_is_cut_and_no_shard_is_too_large(items, most):
    groups = divided(items, most)
    assert [each for group in groups for each in group] == items
    for group in groups:
        assert len(group) <= 1 or sum(each.size for each in group) <= most
    for group, following in itertools.pairwise(groups):
        assert group
        assert following
        # Each shard is as full as it gets.
        assert sum(each.size for each in group) + following[0].size > most


@given(items=ITEMS, most=st.integers(1, 300))
def test_files_are_aligned_and_hold_every_tensor_once(items, most):
    found = shards(items, most, {"format": "pt"})
    assert weight_map(found).keys() == {each.key for each in items}
    for shard in found:
        assert len(shard.header) % 8 == 0
        at = len(shard.header)
        for each in shard.items:
            assert at % each.dtype.itemsize == 0
            at += each.size
        assert at == shard.size
    assert len(found) == 1 or [each.name for each in found] == [
        f"model-{number:05d}-of-{len(found):05d}.safetensors" for number in range(1, len(found) + 1)
    ]


@given(items=ITEMS, most=st.integers(1, 300), world=st.integers(1, 5))
def test_every_file_and_every_chunk_has_one_rank(items, most, world):
    found = shards(items, most, {})
    ranks = [World(rank, world) for rank in range(world)]
    shares = [each.share(found) for each in ranks]
    assert sorted(shard.name for mine in shares for shard in mine) == sorted(shard.name for shard in found)
    cut = chunks(items)
    assert [chunk for each in ranks for chunk in share(cut, each)] == cut


def test_the_work_is_balanced():
    files = [Shard(f"f{n}", (item(n, (1000 * n,)),), header([], {})) for n in range(1, 13)]
    loads = [sum(shard.size for shard in World(rank, 4).share(files)) for rank in range(4)]
    # Largest first is never worse than 4/3 of the best.
    assert max(loads) <= 4 / 3 * sum(loads) / 4
    many = chunks([item(n, (1 << 20,)) for n in range(64)])
    assert [len(share(many, World(rank, 4))) for rank in range(4)] == [16] * 4


def test_chunks_are_bounded_and_tied_names_have_their_own(monkeypatch):
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", "1024")
    found = chunks([item(0, (100, 64), others=["tied"])])
    assert max(chunk.size for chunk in found) == 16 * 1024
    assert {chunk.key for chunk in found} == {"t0", "tied"}
    assert sum(chunk.size for chunk in found) == 2 * 100 * 64 * 4
    whole = Item("q", (), "q", (100, 64), torch.float32, Orthogonal(), "whole")
    assert [chunk.piece.sizes for chunk in chunks([whole])] == [(100, 64)]
    # Of nothing there is one chunk, too.
    assert [chunk.piece.sizes for chunk in chunks([item(0, (0, 4))])] == [(0, 4)]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5 * 10**9),
        ("2GiB", 2 << 30),
        ("500 mb", 5 * 10**8),
        ("1.5kB", 1500),
        ("7", 7),
        (12, 12),
        ("1T", 10**12),
    ],
)
def test_sizes(text, size):
    assert parsed_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "0", "0.2B", "5XB", "5GB each", "1e9", "nan", True, "٣GB"]
)
def test_no_sizes(text):
    with pytest.raises(OutputError, match="is not a size of a shard"):
        parsed_size(text)
