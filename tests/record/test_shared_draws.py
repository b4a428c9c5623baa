"""One draw in several tensors: whatever is recorded of each, they agree."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from held_tensors import bits, changed, holding, tensors_of
from torch import nn

import initcfg
from initcfg.values import (
    CopyOf,
    Formula,
    Normal,
    TruncNormal,
)


def scaled():
    draw = torch.randn(8, 4)
    return holding(a=draw * 2, b=draw * 3, c=-draw, d=draw.clone(), e=draw.tanh())


def pieces():
    draw = torch.randn(8, 4)
    return holding(a=draw[:4], b=draw[4:], c=draw.tanh())


def columns():
    draw = torch.randn(8, 8)
    return holding(a=draw[:, :4].clone(), b=draw[:, 4:].clone(), c=draw)


def mirrored():
    weight = torch.empty(8, 4)
    nn.init.normal_(weight[:4])
    weight[4:].copy_(-weight[:4])
    return holding(a=weight, b=weight.clone())


def repeated():
    weight = torch.empty(8, 4)
    nn.init.normal_(weight[:4])
    weight[4:].copy_(weight[:4])
    return holding(a=weight)


def averaged():
    module = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    with torch.no_grad():
        module[2].weight.copy_(module[0].weight).mul_(0.5).add_(module[1].weight, alpha=0.5)
    return module


def changed_later():
    module = holding(a=torch.randn(8, 4))
    module.b = nn.Parameter(module.a.data.clone())
    module.a.data.mul_(2)
    return module


def types():
    draw = torch.randn(8, 4)
    return holding(a=draw, b=draw.double(), c=draw.bfloat16(), d=draw.bfloat16().float())


def copies():
    layer = nn.Linear(4, 4)
    module = nn.ModuleList([copy.deepcopy(layer) for _ in range(3)])
    module[1].weight.data.mul_(0.5)
    return module


SHARED = {
    "scaled": (
        scaled,
        lambda m: [(m.a, m.d * 2), (m.b, m.d * 3), (m.c, -m.d), (m.e, m.d.tanh())],
    ),
    "pieces": (pieces, lambda m: [(torch.cat([m.a, m.b]).tanh(), m.c)]),
    "columns": (columns, lambda m: [(torch.cat([m.a, m.b], 1), m.c)]),
    "mirrored": (mirrored, lambda m: [(m.a[4:], -m.a[:4]), (m.a, m.b)]),
    "repeated": (repeated, lambda m: [(m.a[4:], m.a[:4])]),
    "averaged": (averaged, lambda m: [(m[2].weight, m[0].weight * 0.5 + m[1].weight * 0.5)]),
    "changed later": (changed_later, lambda m: [(m.a, m.b * 2)]),
    "types": (types, lambda m: [(m.b, m.a.double()), (m.c, m.a.bfloat16()), (m.d, m.c.float())]),
    "copies": (copies, lambda m: [(m[0].weight, m[2].weight), (m[0].weight * 0.5, m[1].weight)]),
    "folded": (
        changed(lambda p: (p.normal_(), p.copy_(torch.where(p > 0, p, -p)))),
        lambda m: [(m.p, m.p.abs())],
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_tensors_of_one_draw_agree(name):
    build, pairs = SHARED[name]
    for one, two in pairs(build()):
        assert torch.equal(one, two)
    plan = initcfg.trace(build)
    read = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    models = build(), build()
    plan.apply(models[0], seed=3)
    read.apply(models[1], seed=3)
    for key, tensor in tensors_of(models[0]).items():
        assert bits(tensor) == bits(tensors_of(models[1])[key])
    for one, two in pairs(models[0]):
        assert torch.equal(one, two)
    with initcfg.deferred():
        model = build()
    initcfg.plan(model).apply(model, seed=3)
    for one, two in pairs(model):
        assert torch.equal(one, two)


def test_what_is_not_shared_keeps_its_name():
    def build():
        draw = torch.randn(8, 4)
        return holding(a=draw * 2, b=nn.init.trunc_normal_(torch.empty(4, 4)), c=draw[:2] * 0)

    plan = initcfg.trace(build)
    assert plan["b"].value == TruncNormal(0.0, 1.0, -2.0, 2.0)
    assert initcfg.trace(lambda: holding(a=torch.randn(4) * 2))["a"].value == Normal(0.0, 2.0)
    assert initcfg.trace(changed_later)["b"].value == Normal(0.0, 1.0)
    assert isinstance(initcfg.trace(changed_later)["a"].value, Formula)
    assert initcfg.trace(copies)["2.weight"].value.source == "0.weight"


def test_shared_draws_stay_shared():
    def build():
        module = nn.Module()
        weight = torch.randn(8, 4)
        module.a = nn.Parameter(weight.clone())
        module.b = nn.Parameter(weight.clone())
        module.norm = nn.Parameter(weight.norm(dim=1))
        module.order = nn.Parameter(torch.argsort(weight.sum(1)).float())
        return module

    plan = initcfg.trace(build)
    assert plan["a"].value == Normal(0.0, 1.0)
    assert plan["b"].value == CopyOf("a", Normal(0.0, 1.0))
    model = build()
    plan.apply(model, seed=9)
    assert torch.equal(model.a, model.b)
    assert torch.equal(model.norm, model.a.norm(dim=1))
    assert torch.equal(model.order, torch.argsort(model.a.detach().sum(1)).float())


def test_two_formulas_of_one_draw_agree():
    def build():
        module = nn.Module()
        hidden = torch.randn(8, 4).tanh()
        module.a, module.b = nn.Parameter(hidden + 0), nn.Parameter(hidden.exp())
        return module

    plan = initcfg.trace(build)
    model = build()
    plan.apply(model, seed=9)
    assert torch.equal(model.b, model.a.exp())


def test_pieces_of_one_draw():
    def build():
        module = nn.Module()
        fused = torch.randn(8, 4)
        module.a, module.b = nn.Parameter(fused[:4]), nn.Parameter(fused[4:])
        module.column, module.turned = nn.Parameter(fused[:, 1].clone()), nn.Parameter(fused.t().clone())
        return module

    plan = initcfg.trace(build)
    model = build()
    plan.apply(model, seed=9)
    assert not torch.equal(model.a, model.b)
    assert torch.equal(model.turned[1], model.column)
