"""The kernel equals the NumPy reference, bit for bit, and refuses what makes no sense."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg._stream.bits import kernel, reference, stream_key
from initcfg._stream.bits.kernel import Dim, Job
from initcfg._stream.bits.recipe import (
    BITS,
    Kind,
    Recipe,
    constant_recipe,
    normal_recipe,
    trunc_normal_recipe,
    uniform_recipe,
)
from initcfg.errors import ApplyError

pytestmark = pytest.mark.skipif(
    not kernel.available(), reason=f"the kernel cannot be used: {kernel.why_not()}"
)

KEY = stream_key(42, "weight")
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "uint32": torch.int32,
}
SENTINEL = 77


def recipes(double: bool) -> dict[str, Recipe]:
    return {
        "constant": constant_recipe(0.1, double),
        "minus zero": constant_recipe(-0.0, double),
        "uniform": uniform_recipe(-0.1, 0.7, double),
        "tiny uniform": uniform_recipe(-1e-7, 3e-8, double),
        "normal": normal_recipe(0.1, 0.02, double),
        "wide normal": normal_recipe(-3.0, 2e4, double),
        "no spread": normal_recipe(-0.0, 0.0, double),
        "cut": trunc_normal_recipe(0.1, 0.02, 0.09, 0.15, double),
        "uncut": trunc_normal_recipe(0.0, 0.02, -2.0, 2.0, double),
        "flat": trunc_normal_recipe(0.0, 1.0, 1e-9, 2e-9, double),
        "upper": trunc_normal_recipe(0.0, 1.0, 6.0, 8.0, double),
        "lower": trunc_normal_recipe(0.0, 1.0, -40.0, -6.0, double),
        "narrow": trunc_normal_recipe(0.0, 1.0, -0.001, 0.002, double),
        "end": trunc_normal_recipe(0.0, 1e-200, 1.0, 2.0, double),
    }


SINGLE, DOUBLE = recipes(False), recipes(True)


def expected(recipe: Recipe, dtype: str, base: int, count: int, key: int = KEY) -> torch.Tensor:
    """By the reference, and torch's own rounding to 16 bits."""
    numbers = reference.drawn(recipe, key, base, count)
    if dtype == "uint32":
        numbers = numbers.view(np.int32)
    return torch.from_numpy(numbers).to(DTYPES[dtype])


def pattern(tensor: torch.Tensor) -> torch.Tensor:
    """The bits, since −0.0 equals 0.0."""
    return tensor.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])


def job(tensor: torch.Tensor, recipe: Recipe, dtype: str, base: int = 0) -> Job:
    """A job for a whole tensor, one dimension."""
    return Job(tensor.data_ptr(), dtype, recipe, KEY, base, (Dim(tensor.numel(), 1, 1),))


def all_cases() -> list[tuple[str, str]]:
    cases = [(dtype, name) for dtype in ("float32", "float64", "bfloat16", "float16") for name in SINGLE]
    return [*cases, ("uint32", "bits")]


def recipe_for(dtype: str, name: str) -> Recipe:
    return BITS if name == "bits" else (DOUBLE if dtype == "float64" else SINGLE)[name]


def test_every_kind_is_here() -> None:
    kinds = {recipe_for(dtype, name).kind for dtype, name in all_cases()}
    assert kinds == set(Kind)


@pytest.mark.parametrize("path", kernel.paths())
@pytest.mark.parametrize(("dtype", "name"), all_cases())
def test_equals_the_reference(dtype: str, name: str, path: str) -> None:
    recipe = recipe_for(dtype, name)
    count = 4099 if dtype == "float64" else 20_011
    for base in (0, 1, 2, 3, 2**34 - 5, 2**62 - 20_011):
        memory = torch.full((count + 2,), SENTINEL, dtype=DTYPES[dtype])
        kernel.fill([job(memory[1:-1], recipe, dtype, base)], 1, path=path)
        assert torch.equal(pattern(memory[1:-1]), pattern(expected(recipe, dtype, base, count)))
        assert memory[0] == memory[-1] == SENTINEL


@pytest.mark.parametrize("path", kernel.paths())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_numbers(dtype: str, path: str) -> None:
    """Enough words to meet the rare ones, and numbers below float16's normal ones."""
    for recipe in (
        normal_recipe(0.0, 1e-5, False),
        uniform_recipe(-1e-4, 1e-4, False),
        SINGLE["wide normal"],
    ):
        memory = torch.empty(1 << 20, dtype=DTYPES[dtype])
        kernel.fill([job(memory, recipe, dtype, 12345)], 2, path=path)
        assert torch.equal(pattern(memory), pattern(expected(recipe, dtype, 12345, 1 << 20)))


@pytest.mark.parametrize("path", kernel.paths())
@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_what_is_too_large_for_the_cache(dtype: str, offset: int, path: str) -> None:
    """From 8 MB on, numbers are written past it, where the memory is aligned; nothing beside is touched."""
    count = 9 * 2**20 // DTYPES[dtype].itemsize + 77
    memory = torch.full((count + offset + 1,), SENTINEL, dtype=DTYPES[dtype])
    block = memory[offset:-1]
    for name in ("uniform", "constant"):
        recipe = recipe_for(dtype, name)
        kernel.fill([job(block, recipe, dtype, 3)], 2, path=path)
        assert torch.equal(pattern(block), pattern(expected(recipe, dtype, 3, count)))
        assert (memory[:offset] == SENTINEL).all()
        assert memory[-1] == SENTINEL


@pytest.mark.parametrize("path", kernel.paths())
@pytest.mark.parametrize("val", [math.inf, -math.inf, math.nan, 1e-8, 6e-8, 65519.9, 65520.0, 1e39, -0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_constants_are_those_of_fill(dtype: str, val: float, path: str) -> None:
    memory = torch.empty(300, dtype=DTYPES[dtype])
    kernel.fill([job(memory, constant_recipe(val, dtype == "float64"), dtype)], 1, path=path)
    wanted = torch.tensor(val, dtype=torch.float64).to(torch.float32 if dtype != "float64" else torch.float64)
    wanted = wanted.to(DTYPES[dtype]).expand(300)
    assert torch.equal(memory.isnan(), wanted.isnan())
    assert math.isnan(val) or torch.equal(pattern(memory), pattern(wanted))


@pytest.mark.parametrize("path", kernel.paths())
@pytest.mark.parametrize(
    ("key", "block", "words"),
    [
        (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (2**64 - 1, 2**62 - 1, None),
        (0x299F31D0A4093822, 0x0000000500000007, None),
    ],
)
def test_bits(key: int, block: int, words: str | None, path: str) -> None:
    """The first is Random123's known answer; the kernel's own tests have the others, by whole counters."""
    memory = torch.empty(4, dtype=torch.int32)
    kernel.fill([Job(memory.data_ptr(), "uint32", BITS, key, 4 * block, (Dim(4, 1, 1),))], 1, path=path)
    made = memory.numpy().view(np.uint32)
    assert (made == reference.bits(key, 4 * block, 4)).all()
    if words is not None:
        assert [f"{word:08x}" for word in made.tolist()] == words.split()


# -- blocks, strides and threads -----------------------------------------------------------------


@st.composite
def blocks(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[slice, ...], tuple[int, ...]]:
    """A shape, a rectangular block of it, and the order of its dimensions in memory."""
    rank = draw(st.integers(0, 4))
    shape = tuple(draw(st.integers(1, (400, 60, 14, 6)[rank - 1])) for _ in range(rank))
    cuts = []
    for size in shape:
        start = draw(st.integers(0, size))
        cuts.append(slice(start, draw(st.integers(start, size))))
    return shape, tuple(cuts), tuple(draw(st.permutations(range(rank))))


@settings(max_examples=300, deadline=None)
@given(
    block=blocks(),
    case=st.sampled_from(all_cases()),
    threads=st.integers(1, 8),
    path=st.sampled_from(kernel.paths() or ("none",)),
    step=st.integers(1, 3),
    backward=st.booleans(),
    offset=st.integers(0, 2**40),
)
def test_any_block(
    block: Any, case: tuple[str, str], threads: int, path: str, step: int, backward: bool, offset: int
) -> None:
    """A block of a tensor, in memory in any order, with gaps, even backward; nothing else is touched."""
    shape, cuts, order = block
    dtype, name = case
    recipe = recipe_for(dtype, name)
    count = math.prod(shape)
    whole = expected(recipe, dtype, offset, count).view(shape)
    wanted = whole[cuts]
    # Memory for the block: dimensions permuted, every `step`-th element used.
    sizes = [wanted.shape[dim] for dim in order]
    memory = torch.full([*sizes, step], SENTINEL, dtype=DTYPES[dtype])
    view = memory[..., 0].permute([order.index(dim) for dim in range(len(shape))])
    index_strides = [math.prod(shape[dim + 1 :]) for dim in range(len(shape))]
    base = offset + sum(cut.start * stride for cut, stride in zip(cuts, index_strides, strict=True))
    pointer = view.data_ptr() if view.numel() else 0
    dims = [Dim(*each) for each in zip(view.shape, view.stride(), index_strides, strict=True)]
    if backward and dims and view.numel():
        # The last dimension counted from its end, in memory: the numbers come in reverse.
        size, stride, index_stride = dims[-1]
        dims[-1] = Dim(size, -stride, index_stride)
        pointer += (size - 1) * stride * view.element_size()
        wanted = wanted.flip(-1)
    kernel.fill([Job(pointer, dtype, recipe, KEY, base, tuple(dims))], threads, path=path)
    assert torch.equal(pattern(view), pattern(wanted))
    assert (memory[..., 1:] == SENTINEL).all()


@pytest.mark.parametrize("path", kernel.paths())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("columns", [1, 3, 15, 16, 17, 63, 64, 65, 1000])
def test_columns(columns: int, dtype: str, path: str) -> None:
    """Columns of a wide matrix, packed, transposed and spread: each way of walking."""
    recipe, width, rows = SINGLE["normal"], 1003, 70
    wanted = expected(recipe, dtype, 0, rows * width).view(rows, width)[:, 2 : 2 + columns]
    for memory in (
        torch.empty(rows, columns, dtype=DTYPES[dtype]),
        torch.empty(columns, rows, dtype=DTYPES[dtype]).t(),
        torch.empty(rows, 2 * columns, dtype=DTYPES[dtype])[:, ::2],
    ):
        dims = (Dim(rows, memory.stride(0), width), Dim(columns, memory.stride(1), 1))
        kernel.fill([Job(memory.data_ptr(), dtype, recipe, KEY, 2, dims)], 1, path=path)
        assert torch.equal(pattern(memory), pattern(wanted))


@pytest.mark.parametrize("threads", range(1, 9))
def test_threads_change_nothing(threads: int) -> None:
    count = 600_011
    single, half = torch.empty(count), torch.empty(count, dtype=torch.bfloat16)
    small = [torch.empty(97) for _ in range(50)]
    jobs = [job(single, SINGLE["cut"], "float32", 3), job(half, SINGLE["normal"], "bfloat16", 1)]
    jobs += [job(each, SINGLE["uniform"], "float32", 5 * number) for number, each in enumerate(small)]
    kernel.fill(jobs, threads)
    assert torch.equal(single, expected(SINGLE["cut"], "float32", 3, count))
    assert torch.equal(pattern(half), pattern(expected(SINGLE["normal"], "bfloat16", 1, count)))
    for number, each in enumerate(small):
        assert torch.equal(each, expected(SINGLE["uniform"], "float32", 5 * number, 97))


def test_denormals_are_kept() -> None:
    """Whatever the caller has told the processor, and it is told so again afterwards."""
    recipe = uniform_recipe(-1e-40, 1e-40, False)
    memory, half = torch.empty(300_000), torch.empty(1000, dtype=torch.float16)
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush denormal numbers")
    try:
        jobs = [job(memory, recipe, "float32"), job(half, SINGLE["tiny uniform"], "float16")]
        kernel.fill(jobs, 3)
        still = float(torch.tensor([1e-38]) * 1e-3)
    finally:
        torch.set_flush_denormal(False)
    assert still == 0.0
    assert torch.equal(pattern(memory), pattern(expected(recipe, "float32", 0, 300_000)))
    assert torch.equal(pattern(half), pattern(expected(SINGLE["tiny uniform"], "float16", 0, 1000)))


def test_fork_after_threads() -> None:
    """No thread is left behind, so a forked child can draw too."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    program = (
        "import os, numpy as np\n"
        "from initcfg._stream.bits import kernel\n"
        "from initcfg._stream.bits.recipe import normal_recipe\n"
        "memory = np.empty(300_000, np.float32)\n"
        "job = kernel.Job(memory.ctypes.data, 'float32', normal_recipe(0.0, 1.0, False), 1, 0,\n"
        "                 (kernel.Dim(memory.size, 1, 1),))\n"
        "kernel.fill([job], 2)\n"
        "before = memory.copy()\n"
        "memory[:] = 0\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    kernel.fill([job], 2)\n"
        "    os._exit(0 if (memory == before).all() else 3)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


# -- what makes no sense -------------------------------------------------------------------------

GOOD = Job(4096, "float32", SINGLE["normal"], KEY, 0, (Dim(4, 1, 1),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pointer": 0}, "outside of the memory"),
        ({"pointer": -4}, "outside of the memory"),
        ({"pointer": 4097}, "not aligned"),
        ({"pointer": 2**63}, "outside of the memory"),
        ({"pointer": 1.5}, "wrong type"),
        ({"pointer": None}, "wrong type"),
        ({"dtype": "int8"}, "does not make 'int8'"),
        ({"dtype": "float64"}, "for another type"),
        ({"dtype": "uint32"}, "for another type"),
        ({"dtype": ["float32"]}, "wrong type"),
        ({"recipe": None}, "wrong type"),
        ({"recipe": BITS}, "for another type"),
        ({"recipe": Recipe(Kind.NORMAL, False, (math.nan, 1.0))}, "not finite"),
        ({"recipe": Recipe(Kind.NORMAL, False, (1.0,) * 6)}, "wrong type"),
        ({"recipe": Recipe(Kind.CUT, False, (1.0, 1.0), first=2**32)}, "wrong type"),
        ({"key": -1}, "A key must be"),
        ({"key": 2**64}, "A key must be"),
        ({"base": -1}, "lie beyond"),
        ({"base": 2**64 - 3}, "lie beyond"),
        ({"dims": (Dim(-1, 1, 1),)}, "no dimension of -1"),
        ({"dims": (Dim(4, 1, -1),)}, "no dimension of 4"),
        ({"dims": (Dim(4, -2000, 1),)}, "outside of the memory"),
        ({"dims": (Dim(4, 2**62, 1),)}, "outside of the memory"),
        ({"dims": (Dim(2**61, 0, 0),)}, "fits no memory"),
        ({"dims": (Dim(2**40, 0, 0), Dim(2**40, 0, 0))}, "fits no memory"),
        ({"dims": (Dim(4, 1, 2**63),)}, "lie beyond"),
        ({"dims": (Dim(4.0, 1, 1),)}, "wrong type"),  # type: ignore[arg-type]
        ({"dims": ((4, 1),)}, "wrong type"),
        ({"dims": (Dim(1, 2**70, 1),)}, "wrong type"),
    ],
)
def test_impossible_jobs(change: dict[str, Any], message: str) -> None:
    """Refused before anything is written, the good jobs of the batch included."""
    memory = torch.full((16,), float(SENTINEL))
    with pytest.raises(ApplyError, match=message):
        kernel.fill([job(memory, SINGLE["normal"], "float32"), GOOD._replace(**change)], 1)
    assert (memory == SENTINEL).all()


@pytest.mark.parametrize("threads", [0, -1, 4097, 1.5, "2", None])
def test_impossible_threads(threads: Any) -> None:
    with pytest.raises(ApplyError):
        kernel.fill([GOOD], threads)


def test_unknown_path() -> None:
    with pytest.raises(ApplyError, match="no path 'MMX'"):
        kernel.fill([], 1, path="MMX")


def test_unknown_kind() -> None:
    """A recipe that Python could not have made is refused by the library itself."""
    recipe = Recipe(9, False, (0.0, 1.0))  # type: ignore[arg-type]
    memory = torch.full((16,), float(SENTINEL))
    with pytest.raises(ApplyError, match="code 2"):
        kernel.fill([job(memory, recipe, "float32")], 1)
    assert (memory == SENTINEL).all()


def test_nothing_to_do() -> None:
    kernel.fill([], 1)
    memory = torch.full((4,), float(SENTINEL))
    empty = Job(0, "float32", SINGLE["normal"], KEY, 0, (Dim(0, 1, 1), Dim(5, 1, 1)))
    kernel.fill([empty, job(memory[1:2], constant_recipe(1.0, False), "float32"), empty], 8)
    assert memory.tolist() == [SENTINEL, 1.0, SENTINEL, SENTINEL]
    scalar = Job(memory.data_ptr(), "float32", constant_recipe(2.0, False), KEY, 0, ())
    kernel.fill([scalar], 1)
    assert memory.tolist() == [2.0, 1.0, SENTINEL, SENTINEL]


def test_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel.features() in kernel.paths()
    monkeypatch.setenv("INITCFG_KERNEL", "0")
    assert not kernel.available()
    assert kernel.why_not() == "INITCFG_KERNEL=0 turns it off"
    with pytest.raises(ApplyError, match="turns it off"):
        kernel.fill([GOOD], 1)
