"""The plan against a slow, obvious oracle of the rules, on random models with random rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from oracle import Description, Oracle, Refused
from torch import nn
from trees import Tree, build, trees

import initcfg
from initcfg import values
from initcfg.errors import InitcfgError

quickly = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def described(value: values.Value) -> Description:
    """A value in the words of the oracle."""
    if isinstance(value, values.Opaque):
        return ("Opaque",)
    if isinstance(value, values.PaddingRow):
        return ("PaddingRow", value.index, described(value.value))
    if isinstance(value, values.Parts):
        assert len(set(value.values)) == 1
        assert len(set(value.sizes)) == 1
        return ("Parts", len(value.sizes), described(value.values[0]))
    return (value.kind, *value.args.values())


pytestmark = pytest.mark.usefixtures("without_rehearsal")


def alike(left: Any, right: Any) -> bool:
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    return math.isclose(left, right, rel_tol=1e-12) if isinstance(left, float) else left == right


def canonical_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters by the smallest of their names, in registration order."""
    names: dict[int, list[str]] = {}
    tensors: dict[int, torch.Tensor] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    return {min(names[key], key=str.encode): tensors[key] for key in names}


def check(tree: Tree, model: nn.Module, *, compat: bool) -> initcfg.Plan | None:
    """Plan and oracle must agree: on the error, or on every write of every tensor."""
    option = "mmengine" if compat else None
    try:
        oracle = Oracle(model, compat=compat).run(tree.outer)
    except Refused as reason:
        event(f"refused: {str(reason).split('=')[0]}")
        with pytest.raises(InitcfgError):
            initcfg.plan(model, tree.outer, compat=option)
        return None
    plan = initcfg.plan(model, tree.outer, compat=option)
    tensors = canonical_tensors(model)
    assert list(plan) == list(tensors)
    for name, tensor in tensors.items():
        writes = oracle.store.get(id(tensor), [])
        item = plan[name]
        assert [*(each.rule for each in item.shadowed), item.rule] == ([w[0] for w in writes] or [None]), name
        found = [described(each.value) for each in item.shadowed] + [described(item.value)]
        expected = [each[1] for each in writes] or [("Keep",)]
        assert alike(tuple(found), tuple(expected)), (name, found, expected)
        event(f"{len(writes)} writes" if len(writes) < 4 else "many writes")
    assert [each.rule for each in plan.unused] == oracle.unused
    assert list(plan.nested) == oracle.nested
    assert list(plan.uncalled) == oracle.uncalled
    return plan


@quickly
@given(trees(exact=False))
def test_default_reach(tree: Tree) -> None:
    check(tree, build(tree, "initcfg"), compat=False)


@quickly
@given(trees(exact=True))
def test_reach_of_the_original(tree: Tree) -> None:
    check(tree, build(tree, "initcfg"), compat=True)


@quickly
@given(trees(exact=True))
def test_default_reach_on_rules_of_the_original(tree: Tree) -> None:
    check(tree, build(tree, "initcfg"), compat=False)
