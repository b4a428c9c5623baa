"""Looking at a model changes nothing: not its tensors, its state, its hooks, nor random numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from role_models import NanoGPT, ResNet
from torch import nn
from torch.nn.utils import parametrizations

import initcfg
from initcfg._model.roles import find_roles

IDS = torch.zeros(2, 8, dtype=torch.long)
IMAGE = torch.zeros(2, 3, 16, 16)


class Counting(nn.Module):
    """A forward that counts, draws and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls, self.seen = nn.Linear(4, 4), 0, []
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        self.seen.append(x)
        self.steps += 1
        return x + self.inner(x) + torch.rand_like(x) * random.random() * float(np.random.rand())


def test_a_trained_model_in_train_mode() -> None:
    model = ResNet().train()
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    state = {name: each.clone() for name, each in model.state_dict().items()}
    gradients = {name: each.grad for name, each in model.named_parameters()}
    copies = {name: each.clone() for name, each in gradients.items() if each is not None}
    versions = {name: each._version for name, each in model.named_parameters()}
    model.first.weight.requires_grad_(False)
    assert find_roles(model, example=IMAGE).residuals == 4
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    assert all(each.grad is gradients[name] for name, each in model.named_parameters())
    assert all(torch.equal(gradients[name], each) for name, each in copies.items())
    assert {name: each._version for name, each in model.named_parameters()} == versions
    assert not model.first.weight.requires_grad and model.stage1[0].a.weight.requires_grad
    assert all(module.training for module in model.modules())


def test_state_and_random_numbers() -> None:
    model = Counting()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    assert find_roles(model, example=torch.ones(2, 4)).residuals == 1
    assert (model.calls, model.seen, int(model.steps)) == (0, [], 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1] and (np.random.get_state()[1] == before[2]).all()


def test_hooks_of_others_do_not_run() -> None:
    model, ran = NanoGPT(), []
    model.register_forward_hook(lambda *_: ran.append("forward"))
    model.h[0].register_forward_pre_hook(lambda *_: ran.append("before"))
    assert find_roles(model, example=IDS).layers == 3
    assert ran == []


def test_a_pending_model_stays_pending() -> None:
    with initcfg.deferred():
        model = NanoGPT()
    found = find_roles(model, example=IDS)
    assert (found.layers, found.residuals) == (3, 6)
    try:
        model(IDS)
    except initcfg.errors.PendingModelError:
        pass
    else:
        raise AssertionError("its doors are open")


def test_a_model_on_meta_and_half_precision_and_compiled() -> None:
    with torch.device("meta"):
        model = NanoGPT()
    assert find_roles(model, example=IDS).residuals == 6
    assert find_roles(NanoGPT().bfloat16(), example=IDS).residuals == 6
    compiled = torch.compile(NanoGPT(), backend="eager")
    assert find_roles(compiled, example=IDS).tensors == find_roles(NanoGPT(), example=IDS).tensors


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_weights_that_are_computed(name: str, old: bool) -> None:
    wrap = getattr(nn.utils if old else parametrizations, name)
    model = NanoGPT()
    for block in model.h:
        wrap(block.down)
    found = find_roles(model, example=IDS)
    assert found.residuals == 6
    outs = {name for name, each in found.tensors.items() if "mlp_out" in each.roles}
    end = {(False, False): "weight", (True, False): "weight_v", (True, True): "weight_orig"}
    stored = end.get((old, name == "spectral_norm"), "weight")
    assert outs == {f"h.{n}.down.{stored}" for n in range(3)}
