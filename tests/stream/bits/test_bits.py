"""The random stream: its keys, its bits, the numbers that are published, and what it refuses."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from initcfg._stream.bits import (
    STREAM_VERSION,
    bits,
    normal,
    stream_key,
    trunc_normal,
    truncation_integers,
    uniform,
)
from initcfg._stream.bits.philox import philox4x32
from initcfg.errors import PlanError

KEY = stream_key(42, "weight")
MANY = 1_000_000


def digest(numbers: np.ndarray) -> str:
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


# -- key and bits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((0, ""), 0xCF8D223B1690A703),
        ((0, "weight"), 0x4528144CD423AD30),
        ((1, "weight"), 0x2008C01B8369B164),
        ((2**64 - 1, "weight"), 0x6C896A96324095DF),
        ((0, "weight", 1), 0x9991AD3C8D0334F6),
        ((0, "weight", 0, 1), 0x528FC2F46F95964A),
        ((42, "backbone.layer1.0.conv1.weight"), 0x794BED21D4F16A6D),
        ((7, "größe.重み", 2, 3), 0x5082F5366C7A2093),
    ],
)
def test_published_keys(arguments: tuple[Any, ...], key: int) -> None:
    assert stream_key(*arguments) == key


def test_key_is_the_stated_hash() -> None:
    eight = (8).to_bytes(8, "little")
    text = b"weight"
    message = b"".join(
        [
            eight + STREAM_VERSION.to_bytes(8, "little"),
            eight + (5).to_bytes(8, "little"),
            len(text).to_bytes(8, "little") + text,
            eight + (2).to_bytes(8, "little"),
            eight + (3).to_bytes(8, "little"),
        ]
    )
    assert stream_key(5, "weight", 2, 3) == int.from_bytes(hashlib.blake2b(message).digest()[:8], "little")


def test_key_takes_numpy_integers() -> None:
    assert stream_key(np.int64(5), "w") == stream_key(5, "w")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None])
def test_key_refuses_other_seeds(seed: Any) -> None:
    with pytest.raises(PlanError, match=r"seed must be an integer from 0 to 2\*\*64 - 1, not"):
        stream_key(seed, "weight")


def test_key_refuses_other_names() -> None:
    for name in (3, None, "\ud800"):
        with pytest.raises(PlanError, match="name of a tensor must be text"):
            stream_key(0, name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, words: str) -> None:
    """The known-answer vectors published with Random123."""
    rows = np.array([[int(word, 16)] for word in counter.split()], dtype=np.uint64)
    key0, key1 = (int(word, 16) for word in key.split())
    assert [f"{word:08x}" for word in philox4x32(rows, (key0, key1))[0]] == words.split()


def test_bits_layout() -> None:
    """Word i & 3 of block i >> 2; the block's halves are the first two counter words."""
    key = 0x299F31D0A4093822
    block = 0x0000000500000007
    rows = np.array([[7], [5], [0], [0]], dtype=np.uint64)
    expected = philox4x32(rows, (0xA4093822, 0x299F31D0))[0]
    assert bits(key, 4 * block, 4).tolist() == expected.tolist()
    assert bits(key, 4 * block + 3, 1).tolist() == [expected[3]]
    assert bits(0, 0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_bits_ranges() -> None:
    assert bits(KEY, 5, 0).shape == (0,)
    assert bits(KEY, 2**64 - 1, 1).dtype == np.uint32
    for start, count in ((-1, 1), (0, -1), (2**64, 1)):
        with pytest.raises(PlanError, match="A key has the words"):
            bits(KEY, start, count)
    with pytest.raises(PlanError, match="A key must be an integer"):
        bits(2**64, 0, 1)
    with pytest.raises(PlanError, match="A key has the words"):
        normal(KEY, 2**63, 1, 0.0, 1.0, dtype=np.float64)


# -- published numbers ---------------------------------------------------------------------------

MAPS = {
    "uniform": lambda start, count, dtype: uniform(KEY, start, count, -0.5, 2.0, dtype=dtype),
    "normal": lambda start, count, dtype: normal(KEY, start, count, 0.1, 0.02, dtype=dtype),
    "trunc": lambda start, count, dtype: trunc_normal(KEY, start, count, 0.1, 0.02, 0.09, 0.15, dtype=dtype),
    "tail": lambda start, count, dtype: trunc_normal(KEY, start, count, 0.0, 1.0, 6.0, 8.0, dtype=dtype),
}


@pytest.mark.parametrize(
    ("name", "dtype", "first", "all_of_them"),
    [
        ("uniform", np.float32, "0x1.537c040000000p+0", "264dcbbe874896a0"),
        ("uniform", np.float64, "-0x1.cc91ecb2f0248p-2", "dc1c799a89da3b28"),
        ("normal", np.float32, "0x1.5d318c0000000p-4", "7e119ac416d2db3e"),
        ("normal", np.float64, "0x1.e30466ebe1548p-5", "ca77aeb808db7501"),
        ("trunc", np.float32, "0x1.92b3e20000000p-4", "a32a6197ecd51dc5"),
        ("trunc", np.float64, "0x1.73d02aa14bc89p-4", "eeddfb2de3579009"),
        ("tail", np.float32, "0x1.82b68a0000000p+2", "660b659f20e42afb"),
        ("tail", np.float64, "0x1.8035fa19e8a1bp+2", "dace4b2a90eaa1ac"),
    ],
)
def test_published_numbers(name: str, dtype: Any, first: str, all_of_them: str) -> None:
    numbers = MAPS[name](3, 8193 * 5, dtype)
    assert numbers.dtype == dtype
    assert float(numbers[0]).hex() == first
    assert digest(numbers) == all_of_them


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(MAPS)),
    dtype=st.sampled_from([np.float32, np.float64]),
    start=st.integers(0, 20_000),
    count=st.integers(0, 20_000),
)
def test_blocks_are_slices_of_the_whole(name: str, dtype: Any, start: int, count: int) -> None:
    whole = _whole(name, dtype)
    assert digest(MAPS[name](start, count, dtype)) == digest(whole[start : start + count])


_wholes: dict[Any, np.ndarray] = {}


def _whole(name: str, dtype: Any) -> np.ndarray:
    if (name, dtype) not in _wholes:
        _wholes[name, dtype] = MAPS[name](0, 40_000, dtype)
    return _wholes[name, dtype]


def test_single_normal_is_the_stated_sequence() -> None:
    """One element at a time, each operation written out and rounded to float32."""
    single = np.float32
    log2 = "0x1.2b803ep-1 0x1.ec7072p-1 -0x1.4853d8p-2 0x1.23eecep-3 "
    log2 += "-0x1.212292p-4 0x1.31a776p-5 -0x1.9b9f0ep-6 0x1.efa09p-7"
    c = [single(float.fromhex(text)) for text in log2.split()]
    above = "-0x1.fa7590p+1 -0x1.68d89ep+3 0x1.700d02p+2 0x1.09bc56p+3 0x1.2d9958p+0"
    n = [single(float.fromhex(text)) for text in above.split()]
    d = [single(float.fromhex(text)) for text in ("0x1.3c6564p+0", "0x1.f6aa88p+2", "0x1.c5c8bcp+2")]
    numbers = normal(KEY, 0, 200, 0.1, 0.02)
    for word, number in zip(bits(KEY, 0, 200).tolist(), numbers, strict=True):
        upper = word >= 1 << 31
        folded = (1 << 32) - 1 - word if upper else word
        g = single(folded) + single(0.5)
        pattern = int(g.view(np.uint32))
        e = single(159) - single(pattern >> 23)
        y = np.uint32((pattern & 0x7FFFFF) | 0x3F800000).view(single) - single(1.5)
        y2 = y * y
        high = (c[4] + y * c[5]) + y2 * (c[6] + y * c[7])
        q = ((c[0] + y * c[1]) + y2 * (c[2] + y * c[3])) + (y2 * y2) * high
        t = np.sqrt(e - q)
        t2 = t * t
        z = ((n[0] + t * n[1]) + t2 * (n[2] + t * (n[3] + t * n[4]))) / ((d[0] + t * d[1]) + t2 * (t + d[2]))
        assert number == single(0.1) + single(0.02) * (z if upper else -z)


# -- degenerate and impossible arguments ---------------------------------------------------------


def test_truncation_integers() -> None:
    assert truncation_integers(0.0, 0.02, -2.0, 2.0) == (0, 2**32 - 1)
    first, width = truncation_integers(0.0, 1.0, -1.0, 2.0)
    assert first == round(special.ndtr(-1.0) * 2**32)
    assert first + width == round(special.ndtr(2.0) * 2**32)
    # A bound that is missing is where no probability is left.
    assert truncation_integers(0.0, 1.0, -math.inf, 2.0) == (0, first + width)
    assert truncation_integers(0.0, 1.0, -1.0, math.inf) == (first, 2**32 - first)
    assert truncation_integers(0.0, 1.0, -math.inf, math.inf) == (0, 2**32 - 1)
    with pytest.raises(PlanError, match="std 0 has no probabilities"):
        truncation_integers(0.0, 0.0, -1.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a", "b"), [(-math.inf, 0.5), (2.0, math.inf), (-math.inf, -5.0)])
def test_a_missing_bound_is_a_very_far_one(a: float, b: float, dtype: Any) -> None:
    far = [math.copysign(1e30, bound) if math.isinf(bound) else bound for bound in (a, b)]
    missing = trunc_normal(KEY, 0, 1000, 0.0, 1.0, a, b, dtype=dtype)
    assert np.array_equal(missing, trunc_normal(KEY, 0, 1000, 0.0, 1.0, *far, dtype=dtype))


def test_bounds_that_cannot_matter_leave_the_normal() -> None:
    cut, free = trunc_normal(KEY, 0, MANY, 0.0, 0.02, -2.0, 2.0), normal(KEY, 0, MANY, 0.0, 0.02)
    # The words move down by one, which is least felt away from the far tails.
    assert np.abs(cut - free)[np.abs(free) < 0.08].max() < 1e-7
    assert np.abs(cut - free).max() < 1e-4
    assert np.abs(cut).max() < 0.02 * 6.4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_degenerate_distributions_are_constant(dtype: Any) -> None:
    for numbers, expected in (
        (uniform(KEY, 1, 9, 0.1, 0.1, dtype=dtype), 0.1),
        (normal(KEY, 1, 9, 0.1, 0.0, dtype=dtype), 0.1),
        (trunc_normal(KEY, 1, 9, 0.1, 0.0, -1.0, 1.0, dtype=dtype), 0.1),
        (trunc_normal(KEY, 1, 9, 3.0, 0.0, -1.0, 1.0, dtype=dtype), 1.0),
        (trunc_normal(KEY, 1, 9, 3.0, 2.0, 0.1, 0.1, dtype=dtype), 0.1),
        (trunc_normal(KEY, 1, 9, 0.0, 1e-200, 1.0, 2.0, dtype=dtype), 1.0),
        (trunc_normal(KEY, 1, 9, 0.0, 1e-320, -2.0, -1.0, dtype=dtype), -1.0),
    ):
        assert numbers.dtype == dtype
        assert numbers.tolist() == [float(dtype(expected))] * 9


def test_single_bounds_are_rounded_inward() -> None:
    """float32(0.1) lies above 0.1, and float32(0.7) below 0.7: neither bound is ever passed."""
    for a, b in ((-0.1, 0.1), (0.1, 0.7), (-0.7, -0.1)):
        for numbers in (uniform(KEY, 0, MANY, a, b), trunc_normal(KEY, 0, MANY, 0.0, 0.3, a, b)):
            assert float(numbers.min()) >= a
            assert float(numbers.max()) <= b


@settings(max_examples=150, deadline=None)
@given(
    mean=st.floats(-1e3, 1e3),
    std=st.floats(0.0, 1e3),
    bounds=st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)).map(sorted),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_truncation_stays_inside(mean: float, std: float, bounds: list[float], dtype: Any) -> None:
    a, b = bounds
    numbers = trunc_normal(KEY, 0, 64, mean, std, a, b, dtype=dtype)
    assert np.isfinite(numbers).all()
    if float(dtype(a)) == a and float(dtype(b)) == b:
        assert (numbers >= a).all()
        assert (numbers <= b).all()
    else:
        assert (numbers >= dtype(a)).all()
        assert (numbers <= dtype(b)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform(KEY, 0, 1, 1.0, 0.0), "lower bound a=1.0 is above the upper bound b=0.0"),
        (lambda: uniform(KEY, 0, 1, 0.0, math.inf), "argument b must be finite"),
        (lambda: uniform(KEY, 0, 1, math.nan, 1.0), "argument a must be finite"),
        (lambda: uniform(KEY, 0, 1, 0.0, 1e39), "b=1e\\+39 does not fit float32"),
        (lambda: normal(KEY, 0, 1, 0.0, -1.0), "must not be negative, but std=-1.0"),
        (lambda: normal(KEY, 0, 1, math.inf, 1.0), "argument mean must be finite"),
        (lambda: normal(KEY, 0, 1, 0.0, 1e38), "do not fit float32"),
        (lambda: normal(KEY, 0, 1, 0.0, 1.0, dtype=np.float16), "float32 and float64, not float16"),
        (lambda: trunc_normal(KEY, 0, 1, 0.0, 1.0, 2.0, -2.0), "is above the upper bound"),
        (lambda: trunc_normal(KEY, 0, 1, 0.0, -1.0, -2.0, 2.0), "must not be negative"),
        (lambda: trunc_normal(KEY, 0, 1, 0.0, 1.0, math.inf, math.inf), "argument a must be finite"),
        (lambda: trunc_normal(KEY, 0, 1, 0.0, 1.0, 1e39, 1e40), "leave no float32"),
    ],
)
def test_impossible_arguments(call: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        call()


# -- the package ---------------------------------------------------------------------------------


def test_no_torch() -> None:
    program = "import sys, initcfg._stream.bits; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
