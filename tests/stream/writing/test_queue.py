"""How writes are done: in portions, by way of a buffer, with progress, and when they are stopped."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg._apply.apply import apply_plan
from initcfg._stream.writing import matrices, queue, stream
from initcfg._stream.writing.blocks import Block, cut, dims_of, elements
from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.errors import ApplyError
from initcfg.values import Constant, Normal, Orthogonal, PaddingRow, Parts, Uniform, Value

VALUES: list[Value] = [
    Constant(0.5),
    Normal(0.0, 0.02),
    PaddingRow(1, Normal(0.0, 1.0)),
    Parts(0, (5, 8), (Uniform(0.0, 1.0), Normal(0.0, 1.0))),
    Orthogonal(1.0),
]
TENSORS = {
    "plain": lambda dtype: torch.empty(13, 7, 5, dtype=dtype),
    "transposed": lambda dtype: torch.empty(5, 7, 13, dtype=dtype).permute(2, 1, 0),
    "spread": lambda dtype: torch.empty(26, 7, 10, dtype=dtype)[::2, :, ::2],
    "one": lambda dtype: torch.empty(13, 1, 1, dtype=dtype),
}


def narrow(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """From here on few elements at a time: on this device, or as if tensors were on another one."""
    if way == "in portions":
        monkeypatch.setattr(queue, "_AT_ONCE", 20)
        return
    monkeypatch.setattr(stream, "_BUFFER", 20)
    monkeypatch.setattr(stream, "_elsewhere", lambda tensor: True)
    monkeypatch.setattr(stream, "is_plain", lambda tensor: False)


WAYS = pytest.mark.parametrize("way", ["in portions", "elsewhere"])


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.kind)
def test_the_same_numbers(
    value: Value, make: Any, dtype: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, found = make(dtype), make(dtype)
    fill_stream(expected, value, seed=1, name="w")
    narrow(monkeypatch, way)
    version = found._version
    fill_stream(found, value, seed=1, name="w")
    assert torch.equal(found, expected)
    assert found._version > version


@WAYS
def test_the_same_block(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.empty(40, 30)
    fill_stream(whole, Normal(0.0, 1.0), seed=1, name="w")
    narrow(monkeypatch, way)
    piece = torch.empty(11, 17)
    fill_stream(piece, Normal(0.0, 1.0), seed=1, name="w", block=Block((40, 30), (5, 9)))
    assert torch.equal(piece, whole[5:16, 9:26])


@WAYS
def test_progress_is_told_all_along(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch, way)
    told: list[int] = []
    writer = StreamWriter(1, progress=told.append)
    tensors = [torch.empty(size) for size in (3, 500, 7, 41)]
    for number, tensor in enumerate(tensors):
        writer.add(tensor, Normal(0.0, 1.0), str(number))
    writer.flush()
    assert sum(told) == sum(tensor.numel() for tensor in tensors)
    assert max(told) <= 60
    assert len(told) > 20


def test_a_part_of_a_block_is_never_too_large() -> None:
    for shape in ((100,), (3, 9), (3, 100), (2, 3, 4, 25), (1, 1000, 1)):
        dims, base = dims_of(torch.empty(shape), Block.whole(shape))
        sizes = [elements(part) for part, _, _ in cut(dims, base, 10)]
        assert sum(sizes) == math.prod(shape)
        assert max(sizes) <= 10


def test_stopped_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is heard between portions; the model then says that it is unfinished."""
    monkeypatch.setattr(queue, "_AT_ONCE", 100)
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_plan(plan, model, seed=0, rng="stream", progress=stop)
    with pytest.raises(ApplyError, match="failed half-way"):
        model.state_dict()
    plan.apply(model, seed=0)
    model.state_dict()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(KeyboardInterrupt):
        apply_plan(plan, model, seed=1, rng="stream", progress=stop, atomic=True)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    model.state_dict()


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", "99999"])
def test_threads_that_are_none(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITCFG_THREADS", number)
    with pytest.raises(ApplyError, match="INITCFG_THREADS"):
        fill_stream(torch.empty(3), Normal(0.0, 1.0), seed=0, name="w")


@pytest.mark.parametrize("number", ["1", "3", "8"])
def test_threads_by_the_environment(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, found = torch.empty(300_001), torch.empty(300_001)
    fill_stream(expected, Normal(0.0, 1.0), seed=0, name="w")
    monkeypatch.setenv("INITCFG_THREADS", number)
    fill_stream(found, Normal(0.0, 1.0), seed=0, name="w")
    assert torch.equal(found, expected)


def test_matrices_keep_their_place_in_the_order() -> None:
    """What lies upon a matrix comes after it, and a matrix after what it lies upon."""
    plain, upon = torch.empty(6, 4), torch.empty(6, 4)
    fill_stream(plain, Orthogonal(1.0), seed=0, name="weight")
    writer = StreamWriter(0)
    writer.add(upon, Constant(7.0), "below")
    writer.add(upon, PaddingRow(2, Orthogonal(1.0)), "weight")
    writer.add(upon[4:], Constant(5.0), "above")
    writer.flush()
    plain[2], plain[4:] = 0.0, 5.0
    assert torch.equal(upon, plain)


def test_pieces_of_one_matrix_are_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made once, also in another type, and each piece counts."""
    whole = torch.empty(6, 100)
    fill_stream(whole, Orthogonal(1.0), seed=0, name="weight")
    made: list[int] = []
    original = matrices.draw

    def counted(wanted: Any, *rest: Any) -> None:
        made.append(len(wanted))
        original(wanted, *rest)

    monkeypatch.setattr(matrices, "draw", counted)
    told: list[int] = []
    writer = StreamWriter(0, progress=told.append)
    pieces = [torch.empty(6, 30), torch.empty(2, 30, dtype=torch.bfloat16)]
    for piece, offsets in zip(pieces, [(0, 10), (3, 60)], strict=True):
        writer.add(piece, Orthogonal(1.0), "weight", block=Block((6, 100), offsets))
    writer.flush()
    assert torch.equal(pieces[0], whole[:, 10:40])
    assert torch.equal(pieces[1], whole[3:5, 60:90].bfloat16())
    assert sum(told) == 240
    assert made == [1]
