"""Applying, for every model and every rule: exact, repeatable, whole or not at all."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import bits, planned, some, versions
from torch import nn
from trees import Tree, build, trees

import initcfg
from initcfg import values
from initcfg.errors import ApplyError, InitcfgError


def check_written(tensor: torch.Tensor, value: values.Value) -> None:
    """The tensor holds what the value says, as far as one can see without drawing it again."""
    if isinstance(value, values.Parts):
        for piece, each in zip(tensor.split(list(value.sizes), value.dim), value.values, strict=True):
            check_written(piece, each)
    elif isinstance(value, values.PaddingRow):
        assert tensor[value.index].eq(0).all()
        rest = [i for i in range(len(tensor)) if i != value.index]
        check_written(tensor[rest], value.value)
    elif isinstance(value, values.Constant):
        assert torch.equal(tensor, torch.full_like(tensor, value.val))
    elif isinstance(value, (values.Uniform, values.TruncNormal)):
        assert tensor.min() >= torch.tensor(value.a, dtype=tensor.dtype)
        assert tensor.max() <= torch.tensor(value.b, dtype=tensor.dtype)
        assert tensor.numel() < 2 or tensor.unique().numel() > 1
    else:
        assert isinstance(value, values.Normal)
        assert ((tensor - value.mean) / value.std).abs().max() < 7
        assert tensor.numel() < 2 or tensor.unique().numel() > 1


@some
@given(trees(exact=False, duck=False), st.sampled_from(["stream", "torch"]))
def test_exactly_the_plan_is_written(tree: Tree, rng: Any) -> None:
    model = build(tree, "initcfg")
    for parameter in model.parameters():
        parameter.requires_grad_(False).fill_(77)
    plan = planned(tree, model)
    assert all(item.frozen for item in plan.values())
    before, counts = bits(model), versions(model)
    ledger = plan.apply(model, seed=5, rng=rng)
    after = bits(model)
    for name, parameter in model.named_parameters():
        item = plan[name]
        if item.value.kind == "Keep":
            assert after[name] == before[name]
            assert versions(model)[name] == counts[name]
            assert ledger[item.name].by == "nobody"
        else:
            check_written(parameter, item.value)
            assert versions(model)[name] > counts[name]
            assert ledger[item.name].rule == item.rule
            assert ledger[item.name].value == item.value


@some
@given(trees(exact=False, duck=False))
def test_a_seed_leaves_the_global_generator_alone_and_decides_alone(tree: Tree) -> None:
    model, other = build(tree, "initcfg"), build(tree, "initcfg")
    plan = planned(tree, model)
    other.load_state_dict(model.state_dict())
    generator = torch.get_rng_state()
    plan.apply(model, seed=2**64 - 1)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.manual_seed(99)
    plan.apply(other, seed=2**64 - 1)
    assert bits(model) == bits(other)
    # A plan from JSON has no order of draws, and the stream needs none.
    third = build(tree, "initcfg")
    third.load_state_dict(model.state_dict())
    initcfg.Plan.from_json(plan.to_json()).apply(third, seed=2**64 - 1)
    assert bits(third) == bits(model)


@some
@given(trees(exact=False, duck=False), trees(exact=False, duck=False))
def test_a_plan_for_another_model_is_refused_and_nothing_is_written(one: Tree, two: Tree) -> None:
    model, other = build(one, "initcfg"), build(two, "initcfg")
    plan = planned(one, model)
    facts = [{n: (p.shape, p.dtype) for n, p in each.named_parameters()} for each in (model, other)]
    assume(facts[0] != facts[1])
    before, generator = bits(other), torch.get_rng_state()
    with pytest.raises(ApplyError):
        plan.apply(other)
    assert bits(other) == before
    assert torch.equal(torch.get_rng_state(), generator)


# -- failing half-way ----------------------------------------------------------------------------


class Failing(initcfg.BaseModule):
    """Writes a little, then fails, as long as ``broken`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.broken = True

    def init_weights(self) -> None:
        nn.init.constant_(self.linear.weight, 5)
        self.norm.running_mean.fill_(6)
        if self.broken:
            raise RuntimeError("no such luck")


class Whole(initcfg.BaseModule):
    def __init__(self) -> None:
        super().__init__(dict(type="Constant", layer=["Linear", "Conv2d"], val=1))
        self.first = nn.Linear(2, 2)
        self.second = Failing()
        self.third = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second.linear(self.first(x))


@pytest.mark.parametrize("rng", ["stream", "torch"])
def test_atomic_leaves_the_model_as_it_was(rng: Any) -> None:
    model = Whole()
    before, state = bits(model), copy.deepcopy(model.state_dict())
    plan = initcfg.plan(model)
    with pytest.raises((ApplyError, RuntimeError), match="no such luck"):
        plan.apply(model, rng=rng, atomic=True)
    assert bits(model) == before
    assert not model.is_init
    model(torch.zeros(1, 2))
    model.load_state_dict(state)
    model.second.broken = False
    plan.apply(model, rng=rng, atomic=True)
    assert model.second.linear.weight.eq(5).all()
    assert model.is_init


def test_a_failure_closes_the_model_until_it_is_initialized() -> None:
    model = Whole()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ApplyError, match="no such luck"):
        initcfg.init_weights(model)
    for refused in (
        lambda: model(torch.zeros(1, 2)),
        model.state_dict,
        lambda: model.load_state_dict(state),
    ):
        with pytest.raises(ApplyError, match="failed half-way") as caught:
            refused()
        assert "init_weights(model)" in str(caught.value)
    # Failing again leaves it closed; a refused plan does not open it either.
    with pytest.raises(ApplyError, match="no such luck"):
        initcfg.init_weights(model)
    with pytest.raises(ApplyError):
        initcfg.plan(nn.Linear(1, 1)).apply(model)
    with pytest.raises(ApplyError, match="failed half-way"):
        model.state_dict()
    model.second.broken = False
    initcfg.init_weights(model)
    assert set(model.state_dict()) == set(state)
    model.load_state_dict(state)
    assert model(torch.zeros(1, 2)).shape == (1, 2)


def test_wrong_seeds_and_generators_are_refused_before_anything_is_written() -> None:
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    before = bits(model)
    for options in (dict(seed=-1), dict(seed=2**64), dict(rng="numpy")):
        with pytest.raises((InitcfgError, ValueError)):
            plan.apply(model, **options)
    with pytest.raises(ApplyError, match="JSON"):
        initcfg.Plan.from_json(plan.to_json()).apply(model, rng="torch")
    assert bits(model) == before
    assert model.state_dict()


def test_without_a_seed_torchs_generator_governs() -> None:
    rule = dict(type="Normal", layer="Linear")
    one, two, three = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
    torch.manual_seed(1)
    first = initcfg.init_weights(one, rule)
    second = initcfg.init_weights(two, rule)
    torch.manual_seed(1)
    initcfg.init_weights(three, rule)
    assert bits(one) == bits(three)
    assert bits(one) != bits(two)
    assert first.seed != second.seed
    again = nn.Linear(8, 8)
    initcfg.init_weights(again, rule, seed=first.seed)
    assert bits(again) == bits(one)
