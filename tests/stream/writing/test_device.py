"""The door to a GPU's kernel: what it takes, how it walks, and that it trusts no variant before its proof.

Triton itself is not needed here; ``tests/peers/test_triton_peers.py`` and ``test_device_cuda.py`` have it.
"""

from __future__ import annotations

import itertools
import logging
import math
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from device_cases import DTYPES, all_cases, pattern, recipe_for
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg._stream.bits import stream_key
from initcfg._stream.bits.kernel import Dim
from initcfg._stream.bits.recipe import Kind, normal_recipe, uniform_recipe
from initcfg._stream.writing import fallback, stream
from initcfg._stream.writing.cuda import device
from initcfg._stream.writing.stream import fill_stream
from initcfg.errors import ApplyError
from initcfg.values import Normal, TruncNormal

KEY = stream_key(42, "weight")
WHOLE, ROWS, ANY = range(3)
NORMAL = normal_recipe(0.0, 1.0, False)
GPU = torch.device("cuda", 0)


class Kernel:
    """Stands for the kernel in Triton, with numbers of the reference; it takes what crosses apart again."""

    def __init__(self, recipe: Any = NORMAL, *, wrong: int = 0, error: Exception | None = None) -> None:
        self.draw = self
        self.launched: list[dict[str, Any]] = []
        self._recipe, self._wrong, self._error = recipe, wrong, error

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(memory: torch.Tensor, *numbers: int, **options: Any) -> None:
            assert all(-(1 << 63) <= number < 1 << 63 for number in numbers)
            self.launched.append(options)
            if self._error is not None:
                raise self._error
            key, base, total, _, *_ = (number % (1 << 64) for number in numbers)
            assert grid[0] * options["BLOCK"] >= total > (grid[0] - 1) * options["BLOCK"]
            sizes = numbers[13:]
            dims = tuple(Dim(*sizes[3 * dim : 3 * dim + 3]) for dim in range(options["RANK"]))[::-1]
            shape, strides = [dim.size for dim in dims], [dim.stride for dim in dims]
            drawn = torch.from_numpy(fallback.draw(self._recipe, key, base, dims)).view(shape)
            drawn.view(-1)[: self._wrong] += 1
            into = torch.as_strided(memory, shape, strides, memory.storage_offset())
            into.copy_(
                drawn.to(next(each for each, code in device._TYPES.items() if code == options["TYPE"])).view(
                    memory.dtype
                )
            )

        return launch


def use(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on tensors are as on a GPU, with this kernel."""
    monkeypatch.setattr(device, "_triton", lambda: (kernel, None))
    monkeypatch.setattr(device, "why_not", lambda device: None)
    monkeypatch.setattr(device, "_proofs", {})
    monkeypatch.setattr(stream, "_elsewhere", lambda tensor: True)
    monkeypatch.setattr(stream, "is_plain", lambda tensor: False)


# -- whether it is used ------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["INITCFG_KERNEL", "INITCFG_TRITON"])
def test_switched_off(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(switch, "0")
    assert device.why_not(GPU) == f"{switch}=0 turns it off"
    assert not device.fill(torch.empty(4), NORMAL, KEY, 0, (Dim(4, 1, 1),))


def test_only_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.why_not(torch.device("mps")) == "there is no kernel for mps"
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert device.why_not(GPU) == "nothing is known of its exactness on ROCm"


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "initcfg._stream.writing.cuda.triton_kernel", raising=False)
    device._triton.cache_clear()
    try:
        assert device.why_not(GPU) == "triton is not installed"
        assert device.triton_version() is None
    finally:
        device._triton.cache_clear()


def test_a_triton_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "triton":
                raise OSError("libtriton.so: no such file")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for name in [each for each in sys.modules if each.split(".")[0] == "triton"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "initcfg._stream.writing.cuda.triton_kernel", raising=False)
    device._triton.cache_clear()
    try:
        reason = device.why_not(GPU)
        assert reason == "triton cannot be imported (OSError: libtriton.so: no such file)"
    finally:
        device._triton.cache_clear()


# -- how it walks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "base", "walk"),
    [
        ((Dim(4096, 1, 1),), 0, (WHOLE, 1024, 1)),
        ((Dim(4096, 1, 1),), 8, (WHOLE, 1024, 1)),
        ((Dim(4096, 1, 1),), 6, (ROWS, 1025, 1)),
        ((Dim(4095, 1, 1),), 0, (ROWS, 1024, 1)),
        ((Dim(4096, 2, 1),), 0, (ROWS, 1024, 1)),
        ((Dim(1, 1, 1),), 3, (ROWS, 1, 1)),
        ((Dim(3, 1, 1),), 3, (ROWS, 2, 1)),
        ((Dim(10, 100, 333), Dim(100, 1, 1)), 0, (ROWS, 260, 26)),
        ((Dim(10, 1, 333), Dim(100, 10, 1)), 0, (ANY, 1000, 1)),
        ((Dim(10, 100, 333), Dim(100, 1, 2)), 0, (ANY, 1000, 1)),
    ],
)
def test_the_walk(dims: tuple[Dim, ...], base: int, walk: tuple[int, int, int]) -> None:
    assert device.traversal_of(dims, base, 4)[:3] == walk


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 40), rows=st.integers(1, 5), apart=st.integers(40, 50), base=st.integers(0, 99),
    per=st.sampled_from([2, 4]),
)  # fmt: skip
def test_rows_meet_all_of_their_blocks(size: int, rows: int, apart: int, base: int, per: int) -> None:
    """Wherever a row begins within a block of words, as many blocks are made as it reaches into."""
    dims = (Dim(size, 1, 1),) if rows == 1 else (Dim(rows, size, apart), Dim(size, 1, 1))
    walk = device.traversal_of(dims, base, per)
    starts = [base + row * apart for row in range(rows)]
    reached = max((start + size - 1) // per - start // per + 1 for start in starts)
    across = walk.total // rows
    assert reached <= across <= reached + 1
    assert walk.total == across * rows


def test_pieces_of_many_dimensions() -> None:
    dims = tuple(
        Dim(size, stride, stride) for size, stride in ((2, 700), (3, 200), *[(2, 2**p) for p in range(6)])
    )
    pieces = list(device._pieces(dims, 5, 0))
    assert [(base, offset) for _, base, offset in pieces] == [
        (5 + place, place) for place in (0, 200, 400, 700, 900, 1100)
    ]
    assert all(len(part) == device.MOST_DIMS for part, _, _ in pieces)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([2, 3, 70, 5000]), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    inner=st.sampled_from([1, 3]),
)
def test_a_small_block_takes_the_same_walk(sizes: list[int], order: Any, inner: int) -> None:
    places = list(range(len(sizes)))
    order.shuffle(places)
    strides, index_strides, stride, index_stride = [0] * len(sizes), [0] * len(sizes), 1, inner
    for place in places:
        strides[place], stride = stride, stride * sizes[place]
    for place in reversed(range(len(sizes))):
        index_strides[place], index_stride = index_stride, index_stride * (sizes[place] + 1)
    dims = tuple(map(Dim, sizes, strides, index_strides))
    small = device._small(dims)
    assert device.traversal_of(small, 0, 4).code == device.traversal_of(dims, 0, 4).code
    assert len(small) == len(dims)
    assert math.prod(dim.size for dim in small) <= device._PROOF * 2 ** (len(dims) - 1)
    reached = {
        sum(steps) for steps in itertools.product(*(range(0, d.size * d.stride, d.stride) for d in small))
    }
    assert reached == set(range(math.prod(dim.size for dim in small)))


# -- what crosses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [0.0, -0.0, 0.1, -3e38, math.inf, -math.inf, 2.0**-126, -(2.0**-149), 5e-40]
)
def test_float32_as_bits(number: float) -> None:
    rounded = torch.tensor([number], dtype=torch.float64).float()
    assert device._single_pattern(float(rounded)) == rounded.view(torch.int32).item()


def test_numbers_of_a_recipe() -> None:
    single, double = uniform_recipe(-1.0, 1.0, False), uniform_recipe(-1.0, 1.0, True)
    one = {False: 0x3F800000, True: 0x3FF << 52}
    for recipe in (single, double):
        numbers = device._numbers(recipe)
        assert len(numbers) == 7
        assert numbers[1] == numbers[6] == one[recipe.double]
        assert struct.pack("<q", numbers[5])[:4] == struct.pack("<q", device._numbers(recipe)[5])[:4]
    flat = recipe_for("float32", "flat")
    assert flat.kind is Kind.FLAT
    assert device._numbers(flat)[0] == struct.unpack("<q", struct.pack("<d", 1e-9))[0]
    assert device._numbers(flat)[5] == device._single_pattern(flat.low)


# -- proof -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "name"), [each for each in all_cases() if each[0] != "uint32"])
def test_a_right_kernel_is_used(dtype: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_for(dtype, name)
    kernel = Kernel(recipe)
    use(kernel, monkeypatch)
    tensor = torch.empty(64, 30, dtype=DTYPES[dtype]).t()
    dims = (Dim(30, 1, 64), Dim(64, 30, 1))
    base = 2**62 if recipe.double else 2**63
    assert device.fill(tensor, recipe, KEY, base, dims)
    expected = torch.from_numpy(fallback.draw(recipe, KEY, base, dims)).view(30, 64).to(DTYPES[dtype])
    assert torch.equal(pattern(tensor), pattern(expected))
    assert len(kernel.launched) == 2
    device.fill(tensor, recipe, KEY, 0, dims)
    # The proof is made once.
    assert len(kernel.launched) == 3
    assert all(each["enable_fp_fusion"] is False for each in kernel.launched)
    assert device.problems() == ()


@pytest.mark.parametrize("error", [None, RuntimeError("no compiler\nand more"), KeyError("option")])
def test_a_wrong_kernel_is_not(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected, found = torch.empty(50, 40), torch.empty(50, 40)
    fill_stream(expected, Normal(0.0, 1.0), seed=1, name="w")
    kernel = Kernel(wrong=3, error=error)
    use(kernel, monkeypatch)
    with caplog.at_level(logging.WARNING, "initcfg"):
        fill_stream(found, Normal(0.0, 1.0), seed=1, name="w")
        fill_stream(found, Normal(0.0, 1.0), seed=1, name="w")
    assert torch.equal(found, expected)
    assert len(kernel.launched) == 1
    (record,) = caplog.records
    reason = {
        type(None): "3 of 2000 numbers differ from the reference",
        RuntimeError: "it fails with RuntimeError: no compiler",
        KeyError: "it fails with KeyError: 'option'",
    }[type(error)]
    assert record.getMessage() == (
        f"The stream's kernel for GPUs is not used for float32 of NORMAL on cpu: {reason}. "
        "The numbers are made on the CPU and copied."
    )
    assert device.problems() == (reason,)


def test_each_variant_has_its_own_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    use(kernel, monkeypatch)
    for dims in (
        (Dim(8, 1, 1),),
        (Dim(7, 1, 1),),
        (Dim(2, 4, 9), Dim(4, 1, 1)),
        (Dim(2, 1, 9), Dim(4, 2, 1)),
    ):
        assert device.fill(torch.empty(8), NORMAL, KEY, 0, dims)
    assert [(each["WALK"], each["RANK"]) for each in kernel.launched[::2]] == [
        (WHOLE, 1), (ROWS, 1), (ROWS, 2), (ANY, 2)
    ]  # fmt: skip
    assert len(kernel.launched) == 8


def test_progress_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Kernel(), monkeypatch)
    told: list[int] = []
    writer = stream.StreamWriter(1, progress=told.append)
    tensor = torch.empty(100)
    version = tensor._version
    writer.add(tensor, Normal(0.0, 1.0), "w")
    writer.flush()
    assert told == [100]
    assert tensor._version > version


def test_what_has_no_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    use(kernel, monkeypatch)
    assert device.fill(torch.empty(0, 3), NORMAL, KEY, 0, (Dim(0, 3, 3), Dim(3, 1, 1)))
    assert kernel.launched == []


def test_words_that_no_key_has(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    use(kernel, monkeypatch)
    with pytest.raises(ApplyError, match="lie beyond"):
        device.fill(torch.empty(8), NORMAL, KEY, 2**64 - 4, (Dim(8, 1, 1),))
    assert kernel.launched == []


def test_an_interpreter_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    class InterpretedFunction:
        pass

    monkeypatch.setattr(device, "_triton", lambda: (SimpleNamespace(draw=InterpretedFunction()), None))
    assert device.why_not(GPU) == "TRITON_INTERPRET is set"


def test_a_tail_takes_the_way_of_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs are smaller, since each number takes hundreds of operations."""
    value = TruncNormal(0.0, 1.0, 6.0, 7.0)
    kernel = Kernel(stream.recipe_of(value, False))
    use(kernel, monkeypatch)
    fill_stream(torch.empty(4096), value, seed=0, name="w")
    assert [each["BLOCK"] for each in kernel.launched] == [64, 64]
