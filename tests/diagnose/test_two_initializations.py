"""Two initializations side by side: what is noise is called so, and what is not is not."""

from __future__ import annotations

import json

import pytest
import torch
from diagnosed_models import classes, perceptron
from torch import nn

import initcfg
from initcfg._diagnose.comparison import Side, chance_of, least_chance, run_of
from initcfg._diagnose.diagnose import checked_request
from initcfg.errors import DiagnosisError

RULES = [dict(type="Kaiming", layer="Linear"), dict(type="Normal", param="6.weight", std=0.05)]


def _model() -> nn.Module:
    model = perceptron()
    initcfg.init_weights(model, RULES, seed=0)
    return model


def test_one_initialization_against_itself_is_noise() -> None:
    """In at least 19 of 20 sets of seeds."""
    model, rules = perceptron(1), dict(type="Kaiming", layer="Linear")
    plan = initcfg.plan(model, rules)
    request = checked_request(1e-2, "adamw", 2, None, 0)
    sides = [Side(name, model, plan) for name in ("here", "there")]
    noise = 0
    for first in range(0, 100, 5):
        here, there = (
            [run_of(side, classes(), None, request, seed, place)[-1] for seed in range(first, first + 5)]
            for place, side in enumerate(sides)
        )
        noise += chance_of(here, there) > 0.01
    assert noise >= 19


def test_a_worse_one_is_told_from_noise() -> None:
    model = _model()
    before = {name: each.clone() for name, each in model.named_parameters()}
    batch = classes()
    found = initcfg.diagnose(model, batch, against=dict(type="Normal", layer="Linear", std=1e-3), lr=1e-2)
    assert found.verdict == "here" and found.chance == pytest.approx(2 / 252)
    assert found.here.ok and not found.there.ok and not found.ok
    assert all(len(each) == 9 for each in (*found.losses_here, *found.losses_there))
    assert str(found).startswith("here is ahead: after 8 steps at lr 0.01, 5 seeds each, here has the loss ")
    assert json.loads(json.dumps(found.to_json()))["verdict"] == "here"
    # The other plan was carried out, and nothing of that is left.
    assert all(torch.equal(each, before[name]) for name, each in model.named_parameters())
    assert initcfg.diagnose(model, batch, steps=0).measures.tensors[0].rule == "init_cfg[0]"


def test_another_model() -> None:
    other = perceptron(8)
    with pytest.raises(DiagnosisError, match="Nothing tells how the weights of there were drawn"):
        initcfg.diagnose(_model(), classes(), against=other, steps=1)
    initcfg.init_weights(other, dict(type="Kaiming", layer="Linear"), seed=0)
    found = initcfg.diagnose(_model(), classes(), against=other, lr=1e-2, seeds=2, steps=2)
    assert found.verdict == "noise" and "With so few seeds" in str(found)


def test_by_a_plan() -> None:
    model = _model()
    plan = initcfg.plan(model, dict(type="Constant", layer="Linear", val=0.0))
    found = initcfg.diagnose(model, classes(), against=plan, lr=1e-2, steps=4)
    assert found.verdict == "here"
    assert "dead-parameter" in {each.code for each in found.there.findings}


@pytest.mark.parametrize(("given", "said"), [(3, "not 3"), ("x", "not 'x'")])
def test_what_is_no_initialization_is_refused(given: object, said: str) -> None:
    with pytest.raises(DiagnosisError, match=said):
        initcfg.diagnose(_model(), classes(), against=given)  # type: ignore[call-overload]
    with pytest.raises(DiagnosisError, match="seeds is a number"):
        initcfg.diagnose(_model(), classes(), against=RULES, seeds=0)


def test_chance_is_exact() -> None:
    assert chance_of([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert chance_of([1.0] * 5, [1.0] * 5) == 1.0
    assert chance_of([float("nan")] * 5, [1, 2, 3, 4, 5]) == pytest.approx(2 / 252)
    assert chance_of(range(20), range(20, 40)) < 1e-6
    assert least_chance(5) == pytest.approx(2 / 252) and least_chance(4) > 0.01
