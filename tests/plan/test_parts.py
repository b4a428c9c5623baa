"""Plans of parts: a stage holds what the whole model would, whatever it calls its tensors."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import initcfg
from initcfg import Plan
from initcfg.errors import PlanError
from initcfg.values import Constant, CopyOf, Normal

RULES = [
    dict(type="Normal", layer="Linear", std=0.02, bias=0.5),
    dict(type="TruncNormal", layer="Embedding", std=1.0, a=-1.0, b=1.0),
]


class Net(nn.Module):
    def __init__(self, layers=4, width=8):
        super().__init__()
        self.embed = nn.Embedding(16, width, padding_idx=0)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 16, bias=False)
        self.head.weight = self.embed.weight


class Stage(nn.Module):
    def __init__(self, layers, width=8, head=False):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        if head:
            self.norm = nn.BatchNorm1d(width)
            self.head = nn.Linear(width, 16, bias=False)


@pytest.fixture
def whole():
    model = Net()
    plan = initcfg.plan(model, RULES)
    plan.apply(model, seed=5)
    return model, plan


def test_stages_that_keep_their_names(whole):
    model, plan = whole
    first, last = Net(), Net()
    del first.head, first.norm, first.layers[2:]
    del last.embed, last.layers
    for stage in (first, last):
        part = plan.part(stage)
        assert set(part) == {name for name, _ in stage.named_parameters()}
        part.apply(stage, seed=5)
    assert torch.equal(first.embed.weight, model.embed.weight)
    assert torch.equal(first.layers[1].weight, model.layers[1].weight)
    # Its name in the whole model is an alias of the embedding's.
    assert torch.equal(last.head.weight, model.head.weight)


def test_stages_that_count_anew(whole):
    model, plan = whole
    stage = Stage(2, head=True)
    part = plan.part(stage, name_map={"layers.0": "layers.2", "layers.1": "layers.3"})
    assert part["layers.1.weight"].value == CopyOf("layers.3.weight", Normal(0.0, 0.02))
    # What is not drawn has no name.
    assert part["layers.1.bias"].value == Constant(0.5)
    part.apply(stage, seed=5)
    for here, there in ((0, 2), (1, 3)):
        assert torch.equal(stage.layers[here].weight, model.layers[there].weight)
        assert stage.layers[here].bias.unique().tolist() == [0.5]
    assert torch.equal(stage.head.weight, model.head.weight)


def test_a_map_may_be_a_function_or_a_prefix(whole):
    model, plan = whole
    stage = Stage(1)

    def moved(name: str) -> str:
        return name.replace("layers.0", "layers.3")

    plan.part(stage, name_map=moved).apply(stage, seed=5)
    assert torch.equal(stage.layers[0].weight, model.layers[3].weight)
    linear = nn.Linear(8, 8)
    plan.part(linear, name_prefix="layers.1.").apply(linear, seed=5)
    assert torch.equal(linear.weight, model.layers[1].weight)
    linear = nn.Linear(8, 8)
    plan.part(linear, name_map={"": "layers.2"}).apply(linear, seed=5)
    assert torch.equal(linear.weight, model.layers[2].weight)


def test_of_several_prefixes_the_longest_counts():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    part = initcfg.plan(Pair(), RULES).part(Outer(), name_map={"a": "x", "a.1": "y.0"})
    sources = {name: item.value.source for name, item in part.items() if isinstance(item.value, CopyOf)}
    assert sources == {"a.0.weight": "x.0.weight", "a.1.weight": "y.0.weight"}


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Sequential(nn.Linear(2, 2))
        self.y = nn.Sequential(nn.Linear(2, 2))


def test_a_part_of_a_part_and_json(whole):
    model, plan = whole
    stage = Stage(2)
    part = plan.part(stage, name_map={"layers": "layers"})
    again = Plan.from_json(json.loads(json.dumps(part.to_json())))
    assert again == part
    assert again.whole == plan.digest
    inner = nn.Linear(8, 8)
    small = again.part(inner, name_prefix="layers.1.")
    assert small.whole == plan.digest
    small.apply(inner, seed=5)
    assert torch.equal(inner.weight, model.layers[1].weight)


def test_formulas_and_fused_parts_keep_their_numbers():
    def build():
        model = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
        with torch.no_grad():
            model[0].weight.copy_(torch.exp(torch.randn(4, 4)))
        return model

    rules = [dict(type="Xavier", layer="MultiheadAttention")]
    model = build()
    traced = initcfg.trace(build)
    ruled = initcfg.plan(model, rules)
    traced.apply(model, seed=1)
    ruled.apply(model, seed=1)
    linear, attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 2)
    traced.part(linear, name_prefix="0.").apply(linear, seed=1)
    ruled.part(attention, name_prefix="1.").apply(attention, seed=1)
    assert torch.equal(linear.weight, model[0].weight)
    assert torch.equal(attention.in_proj_weight, model[1].in_proj_weight)
    assert torch.equal(attention.out_proj.weight, model[1].out_proj.weight)


def test_buffers_come_along():
    plan = initcfg.trace(lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    norm = nn.BatchNorm1d(2)
    norm.running_var.fill_(7.0)
    part = plan.part(norm, name_prefix="1.")
    assert set(part.buffers) == {"running_mean", "running_var", "num_batches_tracked"}
    part.apply(norm, seed=0)
    assert norm.running_var.tolist() == [1.0, 1.0]


def test_what_is_refused(whole):
    _, plan = whole
    with pytest.raises(PlanError) as caught:
        plan.part(nn.Linear(8, 8), name_prefix="layer.1.")
    assert "no tensor 'layer.1.weight'" in str(caught.value)
    assert "layers.1.weight" in caught.value.meant
    with pytest.raises(
        PlanError, match=r"float32 of shape \(8, 8\), and here it is float32 of shape \(4, 8\)"
    ):
        plan.part(nn.Linear(8, 4), name_prefix="layers.1.")
    with pytest.raises(PlanError, match=r"not of the text 'layers'"):
        plan.part("layers")  # type: ignore[arg-type]
    part = plan.part(nn.Linear(8, 8), name_prefix="layers.1.")
    with pytest.raises(initcfg.errors.ApplyError, match="draws"):
        part.apply(nn.Linear(8, 8), rng="torch")
