"""Signs of zero, NaN, subnormal numbers, bounds: the kernel and the reference agree in every bit."""

from __future__ import annotations

import math
import struct

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from initcfg._stream.bits import kernel
from initcfg._stream.writing.stream import fill_stream
from initcfg.errors import InitcfgError
from initcfg.values import Constant, Normal, TruncNormal, Uniform, Value, dtype_problem

needs_kernel = pytest.mark.skipif(not kernel.available(), reason="there is no kernel to compare with")

DRAWN = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
FILLED = (*DRAWN, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64)


def float_of(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


# Quiet and signaling, of both signs, with payloads that a rounding could carry into the sign.
NANS = [
    float_of(bits)
    for bits in (
        0x7FF8 << 48,
        0xFFF8 << 48,
        0x7FF0 << 48 | 1,
        (1 << 64) - 1,
        (1 << 63) - 1,
        0x7FFFFFFFE0 << 24,
    )
]
SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, 5e-324, -5e-324, 1e-310, -1e-310, 2.0**-1022]
SPECIAL += [
    1e-46,
    -1e-46,
    7e-46,
    1e-45,
    -1e-45,
    1e-40,
    -1e-40,
    2.0**-126,
    -(2.0**-126),
    2.0**-133,
    3e-8,
    -6e-8,
]
SPECIAL += [65504.0, 65519.9, 65520.0, -65520.0, 3.3895e38, 3.4e38, 3.5e38, -1e39, 1e300, 1.7e308, 0.1, 0.02]
special = st.one_of(st.sampled_from(SPECIAL), st.floats(allow_nan=False))
spread = st.one_of(st.sampled_from([0.0, 5e-324, 1e-310, 1e-45, 1e-40, 1e-30, 1e-4, 1.0, 1e30]), special)
values = st.one_of(
    st.builds(Constant, st.one_of(special, st.sampled_from(NANS))),
    st.builds(Uniform, special, special),
    st.builds(Normal, special, spread),
    st.builds(TruncNormal, special, spread, special, special),
)


def filled(value: Value, dtype: torch.dtype, with_kernel: bool, count: int = 261) -> str | bytes:
    """The bits, or the error."""
    tensor = torch.empty(count, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITCFG_KERNEL", str(int(with_kernel)))
        try:
            fill_stream(tensor, value, seed=0, name="weight")
        except InitcfgError as error:
            return str(error)
    return tensor.view(torch.uint8).numpy().tobytes()


@needs_kernel
@settings(max_examples=600, deadline=None)
@given(value=values, dtype=st.sampled_from(DRAWN))
@example(value=Uniform(0.0, -0.0), dtype=torch.float32)
@example(value=Uniform(-1e-45, 0.0), dtype=torch.float16)
@example(value=TruncNormal(0.02, 1e-30, -7.5, 0.0), dtype=torch.bfloat16)
def test_any_distribution(value: Value, dtype: torch.dtype) -> None:
    assert filled(value, dtype, True) == filled(value, dtype, False)


@needs_kernel
@settings(max_examples=150, deadline=None)
@given(value=values, dtype=st.sampled_from(DRAWN))
@example(value=Normal(0.0, 1e-42), dtype=torch.float32)
@example(value=Constant(1e-40), dtype=torch.bfloat16)
def test_small_numbers_are_kept_whatever_the_processor_was_told(value: Value, dtype: torch.dtype) -> None:
    wanted = filled(value, dtype, True)
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush denormal numbers")
    try:
        assert filled(value, dtype, False) == wanted
        assert float(torch.tensor([1e-38]) * 1e-3) == 0.0
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("with_kernel", [True, False])
@pytest.mark.parametrize("nan", NANS)
def test_every_nan_is_the_one_that_a_plan_can_say(nan: float, with_kernel: bool) -> None:
    """Positive, quiet, without payload: JSON has one NaN, so what a plan says is what is written."""
    wanted = {torch.float32: "7fc00000", torch.float64: "7ff8000000000000"}
    wanted |= {torch.bfloat16: "7fc0", torch.float16: "7e00", torch.float8_e4m3fn: "7f"}
    for dtype, pattern in wanted.items():
        made = filled(Constant(nan), dtype, with_kernel)
        assert made == bytes.fromhex(pattern)[::-1] * 261, dtype


@pytest.mark.parametrize("with_kernel", [True, False])
@pytest.mark.parametrize(
    ("value", "sign"),
    [
        (Constant(-0.0), -1.0),
        (Constant(-1e-50), -1.0),
        # What equals a bound is the bound, the upper one last.
        (Uniform(0.0, -0.0), -1.0),
        (Uniform(-0.0, 0.0), 1.0),
        (Uniform(-1e-310, 0.0), 1.0),
        (Uniform(-1e-310, -0.0), -1.0),
        (TruncNormal(0.02, 1e-30, -7.5, 0.0), 1.0),
        (TruncNormal(0.02, 1e-30, -7.5, -0.0), -1.0),
        (TruncNormal(-1.0, 1e-30, -0.0, 1.0), -1.0),
        (TruncNormal(-1.0, 1e-30, 0.0, 1.0), 1.0),
    ],
    ids=str,
)
def test_the_sign_of_zero(value: Value, sign: float, with_kernel: bool) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        tensor = torch.frombuffer(bytearray(filled(value, dtype, with_kernel)), dtype=dtype)
        assert (tensor == 0).all()
        assert (torch.copysign(torch.ones(261), tensor.float()) == sign).all()


@needs_kernel
@settings(max_examples=100, deadline=None)
@given(val=st.one_of(special, st.sampled_from(NANS)), dtype=st.sampled_from(FILLED))
def test_constants_of_any_type(val: float, dtype: torch.dtype) -> None:
    assume(dtype_problem(Constant(val), dtype) is None)
    assert filled(Constant(val), dtype, True) == filled(Constant(val), dtype, False)
