"""Whatever is handed to the stream: the right numbers or a clear error, never a crash."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from initcfg._stream.bits import normal, stream_key
from initcfg._stream.writing.blocks import Block
from initcfg._stream.writing.memory import is_plain, plain_among
from initcfg._stream.writing.stream import StreamWriter, fill_stream
from initcfg.errors import ApplyError, InitcfgError, TensorError
from initcfg.values import Constant, Normal, PaddingRow, Parts, TruncNormal, Uniform, Value

VALUE = Normal(0.0, 0.02)


def reference(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, name: str = "w") -> torch.Tensor:
    double = dtype == torch.float64
    kind = np.float64 if double else np.float32
    numbers = normal(stream_key(1, name), 0, math.prod(shape), 0.0, 0.02, dtype=kind)
    return torch.from_numpy(numbers).view(shape).to(dtype)


class NoMemory(torch.Tensor):
    """A tensor subclass that has no storage."""

    @staticmethod
    def __new__(cls, size: tuple[int, ...]) -> NoMemory:
        return torch.Tensor._make_wrapper_subclass(cls, size, dtype=torch.float32)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(func)


def fake() -> torch.Tensor:
    with FakeTensorMode():
        return torch.empty(3)


def inference() -> torch.Tensor:
    with torch.inference_mode():
        return torch.empty(3)


def _resized(tensor: torch.Tensor, elements: int) -> torch.Tensor:
    tensor.untyped_storage().resize_(4 * elements)
    return tensor


REFUSED: dict[str, Callable[[], torch.Tensor]] = {
    "meta": lambda: torch.empty(3, device="meta"),
    "fake": fake,
    "inference": inference,
    "sparse": lambda: torch.eye(3).to_sparse(),
    "expanded": lambda: torch.empty(3, 1).expand(3, 4),
    "overlapping": lambda: torch.empty(10).as_strided((4, 4), (1, 2)),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    "negative": lambda: torch.zeros(3, dtype=torch.complex64).conj().imag,
    "without memory": lambda: NoMemory((3,)),
    "resized storage": lambda: _resized(torch.empty(64), 8),
    "freed storage": lambda: _resized(torch.nn.Parameter(torch.empty(64)), 0),
    "freed, transposed": lambda: _resized(torch.empty(8, 8).t(), 0),
    "integers": lambda: torch.zeros(3, dtype=torch.int64),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "booleans": lambda: torch.zeros(3, dtype=torch.bool),
    "float8": lambda: torch.zeros(3).to(torch.float8_e4m3fn),
}


GOOD: dict[str, Callable[[], torch.Tensor]] = {
    "plain": lambda: torch.empty(3, 4),
    "bfloat16": lambda: torch.empty(3, dtype=torch.bfloat16),
    "parameter": lambda: torch.nn.Parameter(torch.empty(3)),
    "buffer": lambda: torch.nn.Buffer(torch.empty(3)),
    "transposed": lambda: torch.empty(3, 4).t(),
    "further on": lambda: torch.empty(9)[4:],
    "empty": lambda: torch.empty(0, 4),
    "number": lambda: torch.empty(()),
    "strided": lambda: torch.empty(9)[::2],
    "further on, resized": lambda: _resized(torch.empty(64)[32:], 40),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("other", [*REFUSED, *GOOD])
@pytest.mark.parametrize("one", ["plain", "parameter", "further on", "empty", "meta", "inference"])
def test_plain_tensors_are_known_among_others(one: str, other: str) -> None:
    makes = {**REFUSED, **GOOD}
    tensors = [makes[each]() for each in (one, other, one)]
    assert plain_among(tensors) == {id(each) for each in tensors if is_plain(each)}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refused(make: Callable[[], torch.Tensor]) -> None:
    tensor = make()
    writer, beside = StreamWriter(1), torch.zeros(5)
    with pytest.raises((TensorError, ApplyError)) as caught:
        writer.add(tensor, VALUE, "w")
    assert isinstance(caught.value, InitcfgError)
    # What was refused takes nothing else with it.
    writer.add(beside, VALUE, "w")
    writer.flush()
    assert torch.equal(beside, reference((5,)))


WRITTEN: dict[str, Callable[[], torch.Tensor]] = {
    "scalar": lambda: torch.empty(()),
    "one": lambda: torch.empty(1, 1, 1),
    "empty": lambda: torch.empty(0),
    "empty rows": lambda: torch.empty(3, 0, 2),
    "parameter": lambda: torch.nn.Parameter(torch.empty(7, 3)),
    "leaf": lambda: torch.empty(7, 3, requires_grad=True),
    "transposed": lambda: torch.empty(5, 7).t(),
    "channels last": lambda: torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "every other": lambda: torch.empty(10, 6)[::2, ::3],
    "inner": lambda: torch.empty(9, 9)[2:5, 3:8],
    "flipped order": lambda: torch.empty(2, 3, 4, 5).permute(3, 1, 0, 2),
    "26 dimensions": lambda: torch.empty((2,) * 4 + (1,) * 22),
    "own subclass": lambda: torch.empty(6).as_subclass(type("Own", (torch.Tensor,), {})),
    "odd offset": lambda: torch.empty(11)[1:],
    "bfloat16": lambda: torch.empty(9, dtype=torch.bfloat16)[3:],
    "float64": lambda: torch.empty(4, 4, dtype=torch.float64).t(),
}


@pytest.mark.parametrize("make", WRITTEN.values(), ids=WRITTEN)
def test_written(make: Callable[[], torch.Tensor]) -> None:
    tensor = make()
    version = tensor._version
    fill_stream(tensor, VALUE, seed=1, name="w")
    assert torch.equal(
        tensor.detach().as_subclass(torch.Tensor), reference(tuple(tensor.shape), tensor.dtype)
    )
    assert tensor._version > version or tensor.numel() == 0


def test_raw_writes_are_seen_by_autograd() -> None:
    weight = torch.ones(3, requires_grad=True)
    product = (weight * weight).sum()
    with torch.no_grad():
        fill_stream(weight, VALUE, seed=1, name="w")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_later_writes_lie_upon_earlier_ones() -> None:
    """Also where both wait in the queue, in whatever mixture of runs and blocks."""
    memory = torch.zeros(40)
    writer = StreamWriter(1)
    writer.add(memory, Constant(1.0), "a")
    writer.add(memory[10:20], Constant(2.0), "b")
    writer.add(memory[15:35:2], Constant(3.0), "c")
    writer.add(memory[16:18], Constant(4.0), "d")
    writer.flush()
    expected = torch.ones(40)
    expected[10:20], expected[15:35:2], expected[16:18] = 2.0, 3.0, 4.0
    assert torch.equal(memory, expected)


@pytest.mark.parametrize("case", ["beyond the bounds", "too many dimensions", "negative", "another shape"])
def test_blocks_that_are_none(case: str) -> None:
    tensor, block = {
        "beyond the bounds": (torch.zeros(4), Block((6,), (3,))),
        "too many dimensions": (torch.zeros(4), Block((6, 2), (0, 0))),
        "negative": (torch.zeros(4), Block((6,), (-1,))),
        "another shape": (torch.zeros(4, 4), Block((6,), (0,))),
    }[case]
    with pytest.raises(ApplyError, match="is not a block of"):
        fill_stream(tensor, VALUE, seed=1, name="w", block=block)
    assert (tensor == 0).all()


def test_a_tensor_too_large_for_the_stream() -> None:
    """2**62 elements by their shape alone: a block of one of them has its number."""
    tensor = torch.zeros(2, 2)
    fill_stream(tensor, VALUE, seed=1, name="w", block=Block((2**31, 2**31), (2**31 - 2, 2**31 - 2)))
    last = normal(stream_key(1, "w"), 2**62 - 2, 2, 0.0, 0.02)
    assert torch.equal(tensor[1], torch.from_numpy(last))
    with pytest.raises(ApplyError, match="lie beyond"):
        fill_stream(tensor, VALUE, seed=1, name="w", block=Block((2**40, 2**40), (2**40 - 2, 0)))


@st.composite
def views(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """A view of some memory, by the ways in which torch makes views; and the memory."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
    shape = draw(st.lists(st.integers(0, 9), max_size=4))
    memory = torch.zeros(shape, dtype=dtype)
    tensor = memory
    for _ in range(draw(st.integers(0, 4))):
        if not tensor.dim():
            break
        dim = draw(st.integers(0, tensor.dim() - 1))
        size = tensor.shape[dim]
        kind = draw(st.sampled_from(["narrow", "transpose", "step", "unsqueeze", "expand", "select", "flip"]))
        if kind == "narrow":
            start = draw(st.integers(0, size))
            tensor = tensor.narrow(dim, start, draw(st.integers(0, size - start)))
        elif kind == "transpose":
            tensor = tensor.transpose(dim, draw(st.integers(0, tensor.dim() - 1)))
        elif kind == "step":
            tensor = tensor[(slice(None),) * dim + (slice(None, None, draw(st.integers(1, 3))),)]
        elif kind == "unsqueeze":
            tensor = tensor.unsqueeze(dim)
        elif kind == "expand" and size == 1:
            tensor = tensor.expand([*tensor.shape[:dim], draw(st.integers(1, 3)), *tensor.shape[dim + 1 :]])
        elif kind == "select" and size:
            tensor = tensor.select(dim, draw(st.integers(0, size - 1)))
    return tensor, memory


VALUES: list[Value] = [
    VALUE,
    Uniform(-1.0, 2.0),
    TruncNormal(0.0, 1.0, -2.0, 2.0),
    TruncNormal(0.0, 1.0, 5.0, 6.0),
    Constant(0.5),
]


@settings(max_examples=400, deadline=None)
@given(view=views(), value=st.sampled_from(VALUES))
def test_any_view(view: tuple[torch.Tensor, torch.Tensor], value: Value) -> None:
    """As if it were filled alone and copied in; what lies beside it in memory stays."""
    tensor, memory = view
    wanted = torch.empty(tensor.shape, dtype=tensor.dtype)
    fill_stream(wanted, value, seed=3, name="w")
    expected = memory.clone()
    shares = any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    if shares and tensor.numel():
        with pytest.raises(TensorError, match="share memory"):
            fill_stream(tensor, value, seed=3, name="w")
        assert torch.equal(memory, expected)
        return
    expected.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(wanted)
    fill_stream(tensor, value, seed=3, name="w")
    assert torch.equal(memory, expected)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 9),
    cut=st.data(),
    dim=st.integers(0, 1),
)
def test_blocks_of_parts_and_padding(rows: int, columns: int, cut: Any, dim: int) -> None:
    """A block of a fused tensor, or of one with a padding row, is a slice of the whole."""
    shape = (rows, columns)
    first = cut.draw(st.integers(0, shape[dim]))
    parts = Parts(dim, (first, shape[dim] - first), (VALUE, Uniform(1.0, 2.0)))
    padded = PaddingRow(cut.draw(st.integers(0, rows - 1)), VALUE)
    starts = [cut.draw(st.integers(0, size)) for size in shape]
    stops = [cut.draw(st.integers(start, size)) for start, size in zip(starts, shape, strict=True)]
    for value in (parts, padded):
        whole = torch.empty(shape)
        fill_stream(whole, value, seed=5, name="w")
        piece = torch.empty([stop - start for start, stop in zip(starts, stops, strict=True)])
        fill_stream(piece, value, seed=5, name="w", block=Block(shape, tuple(starts)))
        assert torch.equal(piece, whole[starts[0] : stops[0], starts[1] : stops[1]])
