"""Afterwards everything is as it was, bit for bit, also after an exception."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg.errors import DiagnosisError


class Counting(nn.Module):
    """A model with all that a pass may change."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.5)
        self.last = nn.utils.parametrizations.weight_norm(nn.Linear(32, 8))
        self.calls = 0
        self.cache: dict[str, Any] = {}
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.cache["last"] = x
        self.seen += 1
        random.random(), np.random.rand(), torch.rand(3)
        return self.last(self.drop(self.norm(self.first(x)).relu()))


def _state(model: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {name: each.clone() for name, each in model.state_dict().items()},
        "gradients": {
            name: None if each.grad is None else (each.grad, each.grad.clone())
            for name, each in model.named_parameters()
        },
        "pointers": {name: each.data_ptr() for name, each in model.named_parameters()},
        "modes": [each.training for each in model.modules()],
        "hooks": [(len(each._forward_hooks), len(each._forward_pre_hooks)) for each in model.modules()],
        "chances": [each.p for each in model.modules() if isinstance(each, nn.Dropout)],
        "own": (model.calls, dict(model.cache)),
        "generators": (torch.get_rng_state(), np.random.get_state(), random.getstate()),
        "fast": torch.backends.mha.get_fastpath_enabled(),
    }


def _assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, tensor in before["tensors"].items():
        assert torch.equal(tensor.view(-1), after["tensors"][name].view(-1)), name
    for name, gradient in before["gradients"].items():
        now = after["gradients"][name]
        assert (gradient is None) == (now is None)
        if gradient is not None:
            assert gradient[0] is now[0] and torch.equal(gradient[1], now[1])
    torch_before, numpy_before, python_before = before.pop("generators")
    torch_after, numpy_after, python_after = after.pop("generators")
    assert torch.equal(torch_before, torch_after)
    assert np.array_equal(numpy_before[1], numpy_after[1]) and numpy_before[2:] == numpy_after[2:]
    assert python_before == python_after
    for key in ("pointers", "modes", "hooks", "chances", "own", "fast"):
        assert before[key] == after[key], key


def _prepared() -> Counting:
    torch.manual_seed(1)
    model = Counting()
    model.norm.eval()
    model.first(torch.ones(2, 16)).sum().backward()
    model.last.weight  # noqa: B018 - as training code looks at it
    return model


def _loss(model: nn.Module, batch: Any) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def test_all_is_as_it_was() -> None:
    model = _prepared()
    batch = torch.randn(32, 16), torch.arange(32) % 8
    before = _state(model)
    diagnosis = initcfg.diagnose(model, batch, lr=1e-3)
    assert diagnosis.measures.probe[1].losses[-1] < diagnosis.measures.probe[1].losses[0]
    _assert_same(before, _state(model))


@pytest.mark.parametrize("call", [1, 2, 9])
def test_all_is_as_it_was_after_an_exception(call: int) -> None:
    model = _prepared()
    calls = 0

    def failing(model: nn.Module, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = _loss(model, batch)
        if calls == call:
            raise ValueError("no more")
        return loss

    batch = torch.randn(32, 16), torch.arange(32) % 8
    before = _state(model)
    with pytest.raises(DiagnosisError, match="ValueError: no more"):
        initcfg.diagnose(model, batch, failing)
    assert calls == call
    _assert_same(before, _state(model))


class HoldsMore(nn.Module):
    """Generators of its own, and tensors that are no buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 8)
        self.torchs, self.pythons = torch.Generator().manual_seed(1), random.Random(1)
        self.numpys = {"new": np.random.default_rng(1), "old": np.random.RandomState(1)}
        self.counts = [torch.zeros(3)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.counts[0].add_(1.0)
        moved = torch.rand((), generator=self.torchs) + self.pythons.random()
        return self.fc(x) + moved + self.numpys["new"].random() + self.numpys["old"].rand()


def test_what_a_model_holds_beside_its_tensors() -> None:
    model, twin = HoldsMore(), HoldsMore()
    initcfg.diagnose(model, (torch.randn(4, 16), torch.arange(4)), steps=2)
    assert torch.equal(model.torchs.get_state(), twin.torchs.get_state())
    assert model.pythons.getstate() == twin.pythons.getstate()
    assert model.numpys["new"].random() == twin.numpys["new"].random()
    assert model.numpys["old"].rand() == twin.numpys["old"].rand()
    assert model.counts[0].eq(0).all()


def test_what_libraries_draw_when_they_are_loaded() -> None:
    program = """
import random, torch, initcfg
random.seed(3)
before = random.getstate()
initcfg.diagnose(torch.nn.Linear(8, 4), (torch.randn(4, 8), torch.arange(4)), steps=0)
assert random.getstate() == before
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
