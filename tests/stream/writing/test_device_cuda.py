"""CUDA tensors hold the bits that tensors here hold; by the kernel in Triton, where it is, and by copies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from device_cases import DTYPES, SENTINEL, all_cases, expected, pattern, recipe_for
from torch import nn

import initcfg
from initcfg._stream.bits import bits, stream_key
from initcfg._stream.bits.kernel import Dim
from initcfg._stream.bits.recipe import BITS, Kind, normal_recipe, uniform_recipe
from initcfg._stream.writing import fallback
from initcfg._stream.writing.blocks import Block
from initcfg._stream.writing.cuda import device
from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.values import Constant, Normal, Orthogonal, PaddingRow, Parts, TruncNormal, Uniform, Value

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)
WITH_TRITON = pytest.mark.skipif(
    device.why_not(torch.device("cuda", 0)) is not None,
    reason=f"no kernel in Triton: {device.why_not(torch.device('cuda', 0))}",
)
KEY = stream_key(42, "weight")
TORCH_TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
VALUES: list[Value] = [
    Constant(0.1),
    Uniform(-0.1, 0.7),
    Normal(0.1, 0.02),
    TruncNormal(0.0, 1.0, -2.0, 2.0),
    TruncNormal(0.0, 1.0, 6.0, 7.0),
    TruncNormal(0.0, 1.0, -0.001, 0.002),
    Parts(0, (3, 5), (Normal(0.0, 1.0), Uniform(0.0, 1.0))),
    PaddingRow(2, Normal(0.0, 1.0)),
    Orthogonal(1.0),
]
LAYOUTS: dict[str, Any] = {
    "plain": lambda dtype, where: torch.zeros(8, 331, dtype=dtype, device=where),
    "transposed": lambda dtype, where: torch.zeros(331, 8, dtype=dtype, device=where).t(),
    "spread": lambda dtype, where: torch.zeros(16, 331, 3, dtype=dtype, device=where)[::2, :, 1],
    "four": lambda dtype, where: torch.zeros(8, 5, 3, 4, dtype=dtype, device=where).permute(0, 3, 1, 2),
    "channels_last": lambda dtype, where: torch.zeros(8, 5, 3, 4, dtype=dtype, device=where).to(
        memory_format=torch.channels_last
    ),
    "odd": lambda dtype, where: torch.zeros(8 * 9 + 1, dtype=dtype, device=where)[1:].view(8, 9),
}


@WITH_TRITON
def test_words() -> None:
    for key in (0, 1, 2**32 - 1, 2**63, 2**64 - 1):
        for base in (0, 3, 2**34 - 5, 2**63 - 8, 2**64 - 5000):
            memory = torch.zeros(4099, dtype=torch.int32, device="cuda")
            device.launch(memory, BITS, key, base, (Dim(4099, 1, 1),))
            assert (memory.cpu().numpy().view(np.uint32) == bits(key, base, 4099)).all()


@WITH_TRITON
@pytest.mark.parametrize(("dtype", "name"), all_cases())
def test_equals_the_reference(dtype: str, name: str) -> None:
    recipe = recipe_for(dtype, name)
    for base, count in ((0, 4096), (1, 20_011), (2**34 - 5, 20_011), (2**62 - 20_011, 20_010), (7, 1)):
        memory = torch.full((count + 2,), SENTINEL, dtype=DTYPES[dtype], device="cuda")
        device.launch(memory[1:-1], recipe, KEY, base, (Dim(count, 1, 1),))
        found = memory.cpu()
        assert torch.equal(pattern(found[1:-1]), pattern(expected(recipe, dtype, base, count, KEY)))
        assert found[0] == found[-1] == SENTINEL


@WITH_TRITON
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_numbers(dtype: str) -> None:
    """Enough words to meet the rare ones, and numbers below float16's and float32's normal ones."""
    for recipe in (
        normal_recipe(0.0, 1.0, False),
        normal_recipe(0.0, 1e-5, False),
        normal_recipe(0.0, 1e-39, False),
        normal_recipe(0.0, 3e37, False),
        uniform_recipe(-1e-4, 1e-4, False),
        uniform_recipe(-1e-42, 1e-40, False),
    ):
        memory = torch.empty(1 << 22, dtype=DTYPES[dtype], device="cuda")
        device.launch(memory, recipe, KEY, 12344, (Dim(1 << 22, 1, 1),))
        assert torch.equal(pattern(memory.cpu()), pattern(expected(recipe, dtype, 12344, 1 << 22, KEY)))


@pytest.mark.parametrize("switch", ["1", "0"], ids=["triton", "copies"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TORCH_TYPES)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.kind)
def test_the_bits_of_tensors_here(
    value: Value, dtype: torch.dtype, layout: str, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INITCFG_TRITON", switch)
    here, there = (LAYOUTS[layout](dtype, where) for where in ("cpu", "cuda"))
    version = there._version
    for tensor in (here, there):
        fill_stream(tensor, value, seed=1, name="w")
    assert torch.equal(pattern(there.cpu()), pattern(here))
    assert there._version > version
    assert there.is_cuda


@pytest.mark.parametrize("dtype", TORCH_TYPES)
@pytest.mark.parametrize(
    ("shape", "offsets"),
    [((40, 70), (3, 5)), ((100_000, 100_000), (99_000, 61)), ((3, 50, 9, 80), (1, 7, 2, 3))],
)
def test_blocks(shape: tuple[int, ...], offsets: tuple[int, ...], dtype: torch.dtype) -> None:
    """A shard of a larger tensor, also beyond 2³² elements."""
    sizes = [min(size - start, 37) for size, start in zip(shape, offsets, strict=True)]
    here, there = torch.zeros(sizes, dtype=dtype), torch.zeros(sizes, dtype=dtype, device="cuda")
    for tensor in (here, there):
        fill_stream(tensor, Normal(0.0, 0.02), seed=1, name="w", block=Block(shape, offsets))
    assert torch.equal(pattern(there.cpu()), pattern(here))


@WITH_TRITON
def test_all_of_it_is_made_there() -> None:
    """After all the tests above: no variant failed its proof."""
    for dtype in TORCH_TYPES:
        for value in VALUES[:6]:
            for make in LAYOUTS.values():
                fill_stream(make(dtype, "cuda"), value, seed=1, name="w")
    assert device.problems() == ()
    kinds = {variant.kind for variant, problem in device._proofs.items() if problem is None}
    assert {Kind.UNIFORM, Kind.NORMAL, Kind.CUT, Kind.UPPER, Kind.BOTH} <= kinds


@WITH_TRITON
def test_many_dimensions() -> None:
    dims = tuple(Dim(2, 2 ** (7 - place), 3 ** (7 - place)) for place in range(8))
    recipe = normal_recipe(0.0, 1.0, False)
    memory = torch.empty(math.prod(dim.size for dim in dims), device="cuda")
    assert device.fill(memory, recipe, KEY, 5, dims)
    assert torch.equal(pattern(memory.cpu()), pattern(torch.from_numpy(fallback.draw(recipe, KEY, 5, dims))))


@WITH_TRITON
def test_a_large_tensor() -> None:
    """More than 2³¹ bytes; spots of it, from the front to the end."""
    count = (1 << 30) + 12
    if torch.cuda.mem_get_info()[0] < 3 * count:
        pytest.skip("the device has too little memory")
    there = torch.empty(count, dtype=torch.bfloat16, device="cuda")
    fill_stream(there, Normal(0.0, 0.02), seed=1, name="w")
    for start in (0, (1 << 29) - 50, (1 << 30) - 100, count - 100):
        here = torch.empty(100, dtype=torch.bfloat16)
        fill_stream(here, Normal(0.0, 0.02), seed=1, name="w", block=Block((count,), (start,)))
        assert torch.equal(pattern(there[start : start + 100].cpu()), pattern(here))


def test_on_another_stream() -> None:
    here, there = torch.empty(1 << 20), torch.empty(1 << 20, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        fill_stream(there, Normal(0.0, 1.0), seed=0, name="w")
    torch.cuda.current_stream().wait_stream(stream)
    fill_stream(here, Normal(0.0, 1.0), seed=0, name="w")
    assert torch.equal(pattern(there.cpu()), pattern(here))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device")
def test_on_another_device() -> None:
    here, there = torch.empty(4096), torch.empty(4096, device="cuda:1")
    for tensor in (here, there):
        fill_stream(tensor, Normal(0.0, 1.0), seed=0, name="w")
    assert torch.equal(pattern(there.cpu()), pattern(here))


def test_progress() -> None:
    told: list[int] = []
    writer = StreamWriter(1, progress=told.append)
    for number in range(5):
        writer.add(torch.empty(1000, device="cuda"), Normal(0.0, 1.0), str(number))
    writer.flush()
    assert sum(told) == 5000


def test_a_whole_model() -> None:
    states = []
    for where in ("cpu", "cuda"):
        model = nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40), nn.Linear(40, 50), nn.Embedding(9, 5)).to(
            where
        )
        initcfg.plan(model, dict(type="TruncNormal", layer=["Linear", "Embedding"], std=0.02)).apply(
            model, seed=3
        )
        states.append({name: each.cpu() for name, each in model.state_dict().items()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
