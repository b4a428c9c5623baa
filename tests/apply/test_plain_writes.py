"""Whole tensors are queued many at once: the same as one by one, in the same order, also where it stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import initcfg
from initcfg._apply.filling import StreamFiller
from initcfg._stream.bits import kernel
from initcfg._stream.writing import queue
from initcfg.errors import InitcfgError


def layers() -> nn.Module:
    blocks = [nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 4)) for _ in range(9)]
    return nn.Sequential(*blocks, nn.Embedding(5, 4, padding_idx=1), nn.MultiheadAttention(4, 2))


def odd() -> nn.Module:
    """Views, tied weights, one seen through another, one on the meta device, and a frozen one."""
    model = layers()
    model[0][0].weight = nn.Parameter(torch.zeros(6, 12)[:, ::3])
    model[1][0].weight = model[2][0].weight
    model[3][0] = parametrizations.weight_norm(model[3][0])
    model[4][0].bias = nn.Parameter(torch.zeros(6, device="meta"))
    model[5][0].bias.requires_grad = False
    return model


def shared() -> nn.Module:
    """A buffer in the memory of a parameter: which of them is written last can be seen."""
    model = layers()
    for block in model[:9]:
        block.register_buffer("seen", block[0].weight.detach().view(-1)[:5])
    return model


def waiting() -> nn.Module:
    with initcfg.deferred():
        return layers()


MODELS = {"layers": layers, "odd": odd, "shared": shared, "deferred": waiting}
RULES: dict[str, list[dict[str, Any]]] = {
    "independent": [
        dict(type="Normal", layer="Linear", std=0.3),
        dict(type="Constant", layer="LayerNorm", val=1),
        dict(type="Uniform", param="*.bias", a=0, b=1),
    ],
    "others between": [
        dict(type="Normal", layer=["Linear", "Embedding", "MultiheadAttention"], std=0.3),
        dict(type="Orthogonal", layer="Linear", name="[0-4].0"),
    ],
    "buffers": [
        dict(type="Normal", layer="Linear", std=0.3),
        dict(type="Constant", buffer="*seen", val=7),
        dict(type="Constant", param="*.bias", val=2),
    ],
}


def told(build: Callable[[], nn.Module], rules: list[dict[str, Any]]) -> object:
    """All that there is to see afterwards."""
    torch.manual_seed(0)
    model = build()
    if not hasattr(model[0], "seen"):
        rules = [rule for rule in rules if "buffer" not in rule]
    plan = initcfg.plan(model, rules)
    found: object
    try:
        ledger = plan.apply(model, seed=3)
        found = json.dumps(ledger.to_json()), str(ledger), list(ledger), ledger == plan.apply(model, seed=3)
    except (InitcfgError, MemoryError) as error:
        found = str(error)
    closed = [name for name, module in model.named_modules() if "_initcfg_closed" in module.__dict__]
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    there = {name: each.detach() for name, each in tensors if not each.is_meta}
    numbers = {name: (each.tolist(), each._version) for name, each in there.items()}
    return found, closed, numbers


@pytest.mark.parametrize("at_once", [1 << 25, 25, 60, 1])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("build", MODELS)
def test_together_as_one_by_one(
    build: str, rules: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_AT_ONCE", at_once)
    together = told(MODELS[build], RULES[rules])
    monkeypatch.setattr(StreamFiller, "kind", lambda self, value, dtype: None)
    assert told(MODELS[build], RULES[rules]) == together


@pytest.mark.skipif(not kernel.available(), reason="there is no kernel to fail")
@pytest.mark.parametrize("good", [0, 1, 4])
@pytest.mark.parametrize("at_once", [1 << 25, 60, 10])
def test_the_same_is_said_to_be_written_where_the_kernel_fails(
    at_once: int, good: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_AT_ONCE", at_once)
    run = kernel._run

    def outcome() -> object:
        left = [good]

        def failing(*job: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError("there is none")
            run(*job)

        monkeypatch.setattr(kernel, "_run", failing)
        model = layers()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.fill_(0.5)
        plan = initcfg.plan(model, RULES["independent"])
        said = []
        for step in (lambda: plan.apply(model, seed=3), model.state_dict):
            try:
                step()
            except InitcfgError as error:
                said.append(str(error))
        return said, [each.tolist() for each in model.parameters()]

    together = outcome()
    monkeypatch.setattr(StreamFiller, "kind", lambda self, value, dtype: None)
    assert outcome() == together


def test_what_was_changed_after_planning_is_seen() -> None:
    for change, problem in {
        "shape": "of shape (6, 4, 1)",
        "type": "float64 of shape (6, 4)",
        "memory": "has had its memory taken away",
        "sparse": "is sparse",
        "lost": "lacks",
    }.items():
        model = layers()
        plan = initcfg.plan(model, RULES["independent"])
        before = [each.detach().clone() for each in model.parameters()]
        layer = model[7][0]
        if change == "shape":
            layer.weight = nn.Parameter(torch.zeros(6, 4, 1))
        elif change == "type":
            layer.weight.data = layer.weight.data.double()
        elif change == "memory":
            layer.weight.untyped_storage().resize_(0)
        elif change == "sparse":
            layer.weight = nn.Parameter(torch.zeros(6, 4).to_sparse())
        else:
            del layer.weight
        with pytest.raises(InitcfgError, match=problem.replace("(", r"\(").replace(")", r"\)")):
            plan.apply(model, seed=0)
        assert torch.equal(next(model.parameters()), before[0])
