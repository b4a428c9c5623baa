"""Planning, for every model and every rule: pure, all of it in JSON, and on the meta device the same."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import bits, planned, some, versions
from torch import nn
from trees import LEAVES, Tree, build, trees

import initcfg
from initcfg import values


@some
@given(trees(exact=False))
def test_planning_is_pure(tree: Tree) -> None:
    model = build(tree, "initcfg")
    before, counts, generator = bits(model), versions(model), torch.get_rng_state()
    plan = planned(tree, model)
    assert initcfg.plan(model, tree.outer) == plan
    assert bits(model) == before
    assert versions(model) == counts
    assert torch.equal(torch.get_rng_state(), generator)


@some
@given(trees(exact=False))
def test_json_holds_the_whole_plan(tree: Tree) -> None:
    plan = planned(tree, build(tree, "initcfg"))
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False)))
    assert again == plan
    assert again.digest == plan.digest
    assert again.diff(plan) == {}
    assert {name: item.value for name, item in again.items()} == {n: item.value for n, item in plan.items()}


@some
@given(trees(exact=False))
def test_the_meta_device_gives_the_same_plan(tree: Tree) -> None:
    plan = planned(tree, build(tree, "initcfg"))
    with torch.device("meta"):
        model = build(tree, "initcfg")
    assert all(parameter.is_meta for parameter in model.parameters())
    there = initcfg.plan(model, tree.outer)
    assert there.unused == plan.unused and there.aliases == plan.aliases
    assert list(there) == list(plan)
    for name, item in plan.items():
        if isinstance(item.value, values.Keep):
            # There is nothing to keep: it is what its layer does by itself, where that is known.
            default = there[name].default
            assert there[name].rule is None
            assert there[name].value == (values.Keep() if default is None else default.value)
        else:
            assert replace(there[name], default=None) == item


class Flat(nn.Module):
    """Layers under fixed names, registered in any order."""

    def __init__(self, layers: dict[str, str], order: list[str]) -> None:
        super().__init__()
        for name in order:
            self.add_module(name, LEAVES[layers[name]]())


@some
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(list(LEAVES)), min_size=1),
    st.randoms(use_true_random=False),
    st.sampled_from(["Normal", "Uniform", "TruncNormal"]),
)
def test_the_order_of_registration_does_not_matter(
    layers: dict[str, str], shuffle: random.Random, kind: str
) -> None:
    layers["z"] = "Linear"
    names = list(layers)
    one = Flat(layers, names)
    shuffle.shuffle(names)
    two = Flat(layers, names)
    two.load_state_dict(one.state_dict())
    rules = [dict(type=kind, layer="Module"), dict(type=kind, param=["*"])]
    for model in (one, two):
        initcfg.init_weights(model, rules, seed=11)
    first, second = bits(one), bits(two)
    assert {name: first[name] for name in sorted(first)} == {name: second[name] for name in sorted(second)}
