"""The kernel for GPUs by Triton's interpreter, beside the reference.

test_triton_peers.py runs this in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from device_cases import DTYPES, SENTINEL, all_cases, expected, pattern, recipe_for

from initcfg._stream.bits import bits, stream_key
from initcfg._stream.bits.kernel import Dim
from initcfg._stream.bits.recipe import BITS, Kind, constant_recipe, normal_recipe, uniform_recipe
from initcfg._stream.writing import fallback, stream
from initcfg._stream.writing.blocks import Block, dims_of
from initcfg._stream.writing.cuda import device
from initcfg._stream.writing.stream import fill_stream
from initcfg.values import Constant, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value

assert os.environ["TRITON_INTERPRET"] == "1"
KEY = stream_key(42, "weight")
# Few large programs, since each is a round of NumPy.
ELEMENTS = 1 << 13
CODES = {"whole": 0, "rows": 1, "any": 2}


def test_random123_known_answers() -> None:
    memory = torch.zeros(4, dtype=torch.int32)
    device.launch(memory, BITS, 0, 0, (Dim(4, 1, 1),))
    words = [f"{word & 0xFFFFFFFF:08x}" for word in memory.tolist()]
    assert words == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@pytest.mark.parametrize("key", [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("base", [0, 2**31 - 8, 2**34 + 4, 2**63 - 8, 2**63 + 1, 2**64 - 1009])
def test_words_of_any_key_and_number(key: int, base: int) -> None:
    for shift in (0, 1):
        memory = torch.zeros(1000, dtype=torch.int32)
        device.launch(memory, BITS, key, base + shift, (Dim(1000, 1, 1),), elements=ELEMENTS)
        assert (memory.numpy().view(np.uint32) == bits(key, base + shift, 1000)).all()


@pytest.mark.parametrize(("dtype", "name"), all_cases())
def test_equals_the_reference(dtype: str, name: str) -> None:
    recipe = recipe_for(dtype, name)
    for base, count in ((0, 4096), (1, 1001), (2**34 - 5, 1001), (2**62 - 2000, 1000), (7, 1), (6, 2)):
        memory = torch.full((count + 2,), SENTINEL, dtype=DTYPES[dtype])
        device.launch(memory[1:-1], recipe, KEY, base, (Dim(count, 1, 1),), elements=ELEMENTS)
        assert torch.equal(pattern(memory[1:-1]), pattern(expected(recipe, dtype, base, count, KEY)))
        assert memory[0] == memory[-1] == SENTINEL


@pytest.mark.parametrize(
    ("dtype", "bits_of_nan"),
    [("float32", 0x7FC00000), ("float64", 0x7FF8 << 48), ("bfloat16", 0x7FC0), ("float16", 0x7E00)],
)
def test_no_number_as_the_kernel_writes_it(dtype: str, bits_of_nan: int) -> None:
    """Not as torch rounds it to bfloat16, which has other bits on other paths."""
    memory = torch.zeros(8, dtype=DTYPES[dtype])
    device.launch(memory, constant_recipe(math.nan, dtype == "float64"), KEY, 0, (Dim(8, 1, 1),))
    assert pattern(memory).tolist() == [bits_of_nan] * 8


def test_every_kind_is_here() -> None:
    assert {recipe_for(dtype, name).kind for dtype, name in all_cases()} == set(Kind)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_numbers(dtype: str) -> None:
    """Enough words to meet the rare ones, and numbers below float16's and float32's normal ones."""
    for recipe in (
        normal_recipe(0.0, 1e-5, False),
        normal_recipe(0.0, 1e-39, False),
        normal_recipe(-3.0, 2e4, False),
        normal_recipe(0.0, 3e37, False),
        uniform_recipe(-1e-4, 1e-4, False),
        uniform_recipe(-1e-42, 1e-40, False),
    ):
        memory = torch.empty(1 << 16, dtype=DTYPES[dtype])
        device.launch(memory, recipe, KEY, 12345, (Dim(1 << 16, 1, 1),), elements=1 << 14)
        assert torch.equal(pattern(memory), pattern(expected(recipe, dtype, 12345, 1 << 16, KEY)))


@st.composite
def blocks(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], list[int], list[int]]:
    """Shape of a tensor, offsets and sizes of a block, order of its dimensions in memory, steps there."""
    rank = draw(st.integers(1, 5))
    shape = tuple(draw(st.sampled_from([1, 2, 3, 5, 8, 17])) for _ in range(rank))
    starts = tuple(draw(st.integers(0, size - 1)) for size in shape)
    sizes = tuple(draw(st.integers(1, size - start)) for size, start in zip(shape, starts, strict=True))
    order = list(draw(st.permutations(range(rank))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(rank)]
    return shape, starts, sizes, order, steps


def strided(sizes: tuple[int, ...], order: list[int], steps: list[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor with its dimensions in some order of memory, and gaps between the elements."""
    spread = [size * step for size, step in zip(sizes, steps, strict=True)]
    memory = torch.full([spread[dim] for dim in order], SENTINEL, dtype=dtype)
    tensor = memory.permute([order.index(dim) for dim in range(len(order))])
    return tensor[tuple(slice(None, None, step) for step in steps)]


@settings(max_examples=200, deadline=None)
@given(block=blocks(), case=st.sampled_from(all_cases()), far=st.sampled_from([0, 2**32 - 9, 2**62]))
def test_any_block_in_any_memory(block: Any, case: tuple[str, str], far: int) -> None:
    shape, starts, sizes, order, steps = block
    dtype, name = case
    recipe = recipe_for(dtype, name)
    tensor = strided(sizes, order, steps, DTYPES[dtype])
    dims, base = dims_of(tensor, Block(shape, starts))
    base += far
    untouched = torch.full((tensor.untyped_storage().nbytes() // tensor.element_size(),), SENTINEL)
    wanted = untouched.to(tensor.dtype)
    layout = (tensor.shape, tensor.stride(), tensor.storage_offset())
    numbers = fallback.draw(recipe, KEY, base, dims) if recipe is not BITS else words(base, dims)
    torch.as_strided(wanted, *layout).copy_(torch.from_numpy(numbers).view(sizes))
    device.launch(tensor, recipe, KEY, base, dims, elements=ELEMENTS)
    found = torch.as_strided(tensor, wanted.shape, (1,), 0)
    assert torch.equal(pattern(found), pattern(wanted))


def words(base: int, dims: tuple[Dim, ...]) -> np.ndarray:
    index = [base]
    for dim in dims:
        index = [start + step * dim.index_stride for start in index for step in range(dim.size)]
    return np.array([bits(KEY, each, 1)[0] for each in index], dtype=np.uint32).view(np.int32)


@pytest.mark.parametrize("walk", CODES)
@pytest.mark.parametrize("elements", [32, 128, 1024])
def test_the_size_of_programs_means_nothing(walk: str, elements: int) -> None:
    dims = {
        "whole": (Dim(1000, 1, 1),),
        "rows": (Dim(10, 100, 333), Dim(100, 1, 1)),
        "any": (Dim(10, 1, 333), Dim(100, 10, 1)),
    }[walk]
    recipe = normal_recipe(0.0, 1.0, False)
    memory = torch.empty(1000)
    assert device.traversal_of(dims, 0, 4).code == CODES[walk]
    device.launch(memory, recipe, KEY, 0, dims, elements=elements)
    found = torch.as_strided(memory, [dim.size for dim in dims], [dim.stride for dim in dims])
    numbers = torch.from_numpy(fallback.draw(recipe, KEY, 0, dims)).view(found.shape)
    assert torch.equal(pattern(found), pattern(numbers))


VALUES: list[Value] = [
    Constant(0.1),
    Uniform(-0.1, 0.7),
    Normal(0.1, 0.02),
    TruncNormal(0.0, 1.0, -2.0, 2.0),
    TruncNormal(0.0, 1.0, 6.0, 7.0),
    Parts(0, (3, 5), (Normal(0.0, 1.0), Uniform(0.0, 1.0))),
    PaddingRow(2, Normal(0.0, 1.0)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.kind)
def test_the_writer_as_on_a_device(value: Value, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the way that a CUDA tensor goes, its proof among it, but for the device."""
    tensors = [torch.empty(8, 31, dtype=dtype), torch.empty(31, 8, dtype=dtype).t()]
    tensors.append(torch.empty(2, 2, 2, 1, 2, 2, 31, 2, 2, dtype=dtype)[::2, :, :, :, :, ::2, :, :, :1])
    wanted = [each.clone() for each in tensors]
    for each in wanted:
        fill_stream(each, value, seed=1, name="w", block=whole_or_part(each))

    monkeypatch.setattr(stream, "_elsewhere", lambda tensor: True)
    monkeypatch.setattr(stream, "is_plain", lambda tensor: False)
    monkeypatch.setattr(device, "why_not", lambda device: None)
    monkeypatch.setattr(device, "_proofs", {})
    monkeypatch.setattr(StreamWriterThroughBuffer, "used", 0)
    monkeypatch.setattr(stream.StreamWriter, "_through_buffer", StreamWriterThroughBuffer.count)
    for each in tensors:
        version = each._version
        fill_stream(each, value, seed=1, name="w", block=whole_or_part(each))
        assert each._version > version
    assert all(torch.equal(pattern(one), pattern(other)) for one, other in zip(tensors, wanted, strict=True))
    assert StreamWriterThroughBuffer.used == 0
    assert device.problems() == ()


def whole_or_part(tensor: torch.Tensor) -> Block | None:
    if tensor.dim() == 2:
        return None
    # So that no two dimensions are neighbours.
    return Block(
        tuple(size + (1 if dim else 7) for dim, size in enumerate(tensor.shape)), (0,) * tensor.dim()
    )


class StreamWriterThroughBuffer:
    """Counts the tensors that are not filled where they are."""

    used = 0

    @staticmethod
    def count(*arguments: Any) -> None:
        StreamWriterThroughBuffer.used += 1


def test_more_dimensions_than_the_kernel_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    dims = tuple(Dim(2, 2 ** (7 - place), 3 ** (7 - place)) for place in range(8))
    assert len(dims) > device.MOST_DIMS
    recipe = normal_recipe(0.0, 1.0, False)
    memory = torch.empty(math.prod(dim.size for dim in dims))
    monkeypatch.setattr(device, "why_not", lambda device: None)
    monkeypatch.setattr(device, "_proofs", {})
    assert device.fill(memory, recipe, KEY, 5, dims)
    assert torch.equal(pattern(memory), pattern(torch.from_numpy(fallback.draw(recipe, KEY, 5, dims))))
