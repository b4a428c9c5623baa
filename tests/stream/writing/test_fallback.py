"""Without the kernel: the same bits everywhere, and a word about it where it matters."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initcfg
from initcfg._stream.bits import kernel
from initcfg._stream.writing import queue
from initcfg._stream.writing.blocks import Block
from initcfg._stream.writing.stream import fill_stream
from initcfg.values import (
    Constant,
    Normal,
    Orthogonal,
    PaddingRow,
    Parts,
    Repeat,
    Sparse,
    TruncNormal,
    Uniform,
    Value,
)

VALUES: list[Value] = [
    Constant(0.1),
    Uniform(-0.1, 0.7),
    Normal(0.1, 0.02),
    TruncNormal(0.0, 1.0, -2.0, 2.0),
    TruncNormal(0.0, 1.0, 6.0, 7.0),
    Parts(0, (3, 5), (Normal(0.0, 1.0), Uniform(0.0, 1.0))),
    PaddingRow(2, Normal(0.0, 1.0)),
    Repeat(0, 2, Normal(0.0, 1.0)),
    Orthogonal(1.0),
    Sparse(0.3, 0.01),
]


@contextmanager
def without_kernel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITCFG_KERNEL", "0")
        assert not kernel.available()
        yield


def pattern(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.skipif(not kernel.available(), reason="there is no kernel to compare with")
@settings(max_examples=150, deadline=None)
@given(
    value=st.sampled_from(VALUES),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    columns=st.sampled_from([1, 7, 64, 333]),
    layout=st.sampled_from(["plain", "transposed", "spread"]),
    cut=st.data(),
)
def test_the_same_bits(value: Value, dtype: torch.dtype, columns: int, layout: str, cut: Any) -> None:
    shape = (8, columns)
    starts = [cut.draw(st.integers(0, size - 1)) for size in shape]
    sizes = [
        cut.draw(st.integers(1, size - start)) if value.blockwise else size - start
        for start, size in zip(starts, shape, strict=True)
    ]
    made = []
    for context in (without_kernel(), None):
        memory = torch.zeros(4, *sizes, dtype=dtype)
        tensor = {
            "plain": memory[1],
            "transposed": memory[1].t().contiguous().t(),
            "spread": memory.permute(1, 2, 0)[..., 2],
        }[layout]
        if context is None:
            fill_stream(tensor, value, seed=1, name="w", block=Block(shape, tuple(starts)))
        else:
            with context:
                fill_stream(tensor, value, seed=1, name="w", block=Block(shape, tuple(starts)))
        made.append(tensor)
    assert torch.equal(pattern(made[0]), pattern(made[1]))


def test_a_whole_model() -> None:
    states = []
    for context in (without_kernel(), None):
        with initcfg.deferred():
            model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)
        plan = initcfg.plan(model, dict(type="TruncNormal", layer="Linear", std=0.02))
        if context is None:
            plan.apply(model, seed=3)
        else:
            with context:
                plan.apply(model, seed=3)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_word_about_large_tensors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue, "_warned", False)
    monkeypatch.setattr(queue, "_SLOW", 1000)
    small, large = torch.empty(1000), torch.empty(1001)
    with without_kernel(), caplog.at_level(logging.WARNING, "initcfg"):
        fill_stream(small, Normal(0.0, 1.0), seed=0, name="small")
        assert caplog.records == []
        fill_stream(large, Normal(0.0, 1.0), seed=0, name="large")
        fill_stream(large, Normal(0.0, 1.0), seed=0, name="large")
    (record,) = caplog.records
    assert "kernel is not used (INITCFG_KERNEL=0 turns it off)" in record.getMessage()
    assert "rustup.rs" in record.getMessage()
