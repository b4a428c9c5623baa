"""Tracing leaves nothing behind: no number moved, no function replaced, no model touched, no memory taken."""

from __future__ import annotations

import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg.values import (
    Constant,
    Formula,
)


def by_rejection_(tensor):
    """A loop that looks at what was drawn."""
    with torch.no_grad():
        tensor.normal_()
        while (bad := tensor.abs() > 1).any():
            tensor[bad] = torch.randn(int(bad.sum()))


class Bad(Exception):
    """Raised in the middle."""


def test_nothing_moves():
    # First, since it loads torch's compiler, which puts a function of its own in the place of manual_seed.
    torch.use_deterministic_algorithms(True)
    functions = {name: getattr(nn.init, name) for name in dir(nn.init)}
    methods = {name: getattr(torch.Tensor, name) for name in ("numpy", "data_ptr", "tolist")}
    doors = [getattr(torch, name) for name in ("manual_seed", "seed", "set_rng_state", "get_rng_state")]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()

    def build(fail=False):
        random.random()
        np.random.rand()
        torch.manual_seed(5)
        module = nn.Linear(4, 4)
        by_rejection_(module.weight)
        if fail:
            raise Bad
        return module

    try:
        initcfg.trace(build)
        with pytest.raises(Bad):
            initcfg.trace(lambda: build(fail=True))
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert functions == {name: getattr(nn.init, name) for name in dir(nn.init)}
    assert methods == {name: getattr(torch.Tensor, name) for name in methods}
    assert doors == [getattr(torch, n) for n in ("manual_seed", "seed", "set_rng_state", "get_rng_state")]


@pytest.mark.parametrize("fail", [False, True])
def test_a_given_model_stays_as_it_was(fail):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Embedding(5, 4))
    model[2].weight = nn.Parameter(model[2].weight.data, requires_grad=False)
    before = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    pointers = {name: tensor.data_ptr() for name, (tensor, _) in before.items()}
    attributes = [set(vars(module)) for module in model.modules()]

    def init(module):
        nn.init.normal_(module[0].weight)
        module[0].bias = nn.Parameter(torch.ones(4))
        module[1].running_mean.fill_(3)
        module[1].flag = True
        module[2].weight.requires_grad_(True)
        module[2].weight.mark = 1
        module.append(nn.Linear(4, 4))
        if fail:
            raise Bad

    if fail:
        with pytest.raises(Bad):
            initcfg.trace(init, model)
    else:
        plan = initcfg.trace(init, model)
        assert plan["0.bias"].value == Constant(1.0)
        assert plan["1.running_mean"].value == Constant(3.0)
        assert plan["3.weight"].value.kind == "Uniform"
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (tensor, numbers) in before.items():
        assert after[name] is tensor
        assert tensor.data_ptr() == pointers[name]
        assert torch.equal(tensor, numbers)
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert not model[2].weight.requires_grad
    assert not hasattr(model[2].weight, "mark")


def test_what_was_there_can_be_read_and_changed():
    model = nn.Linear(4, 3)
    nn.init.normal_(model.weight)
    kept = model.weight.detach().clone()

    def init(module):
        seen.append(module.weight.sum().item())
        module.weight.data.mul_(0.5)
        module.bias.data.copy_(module.weight.detach().mean(dim=1))

    seen: list[float] = []
    plan = initcfg.trace(init, model)
    assert seen == [pytest.approx(kept.sum().item(), rel=1e-5)]
    assert torch.equal(model.weight, kept)
    assert isinstance(plan["weight"].value, Formula)
    plan.apply(model, seed=0)
    assert torch.equal(model.weight, kept * 0.5)


def test_other_threads_are_left_alone():
    started, stop = threading.Event(), threading.Event()
    weights: list[torch.Tensor] = []
    numbers: list[float] = []

    def work():
        torch.manual_seed(0)
        started.set()
        while not stop.is_set():
            module = nn.Linear(8, 8)
            nn.init.trunc_normal_(module.weight)
            weights.append(module.weight.detach())
            numbers.append(torch.rand(1).item())

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    for _ in range(20):
        initcfg.trace(lambda: nn.TransformerEncoderLayer(16, 2))
    stop.set()
    thread.join()
    torch.manual_seed(0)
    for weight, number in zip(weights, numbers, strict=True):
        module = nn.Linear(8, 8)
        nn.init.trunc_normal_(module.weight)
        assert torch.equal(module.weight, weight)
        assert torch.rand(1).item() == number


def test_code_does_not_notice():
    def build():
        weight = nn.Parameter(torch.empty(4, 4))
        assert weight.device.type == "cpu"
        assert not weight.is_meta
        assert type(weight.data) is torch.Tensor
        assert weight.untyped_storage().nbytes() == 64
        module = nn.Linear(4, 4)
        module.weight = weight
        nn.init.ones_(weight)
        return module

    assert initcfg.trace(build)["weight"].value == Constant(1.0)


PEAK = """
import resource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
"""


def test_a_trace_touches_no_memory():
    code = """
import torch, initcfg
from torch import nn
def build():
    model = nn.Sequential(*(nn.Linear(16384, 16384, bias=False) for _ in range(40)))
    for layer in model:
        nn.init.trunc_normal_(layer.weight, std=0.02)
        layer.weight.data.div_(2.0)
    return model
initcfg.trace(lambda: nn.Linear(2, 2))
before = peak()
plan = initcfg.trace(build)
assert sum(item.elements for item in plan.values()) * 4 > 40e9
assert plan["0.weight"].value.kind == "TruncNormal"
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", PEAK + code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 64
