"""A weight that is stored as several tensors, of which a checkpoint has some: rules give the rest."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import initcfg
from initcfg import errors

_NORM, _DIRECTION = (f"12.parametrizations.weight.original{each}" for each in (0, 1))
_NORMAL = dict(type="Normal", layer="Linear", std=3.0)


def _model():
    layers = [nn.Linear(3, 3) for _ in range(12)]
    return nn.Sequential(*layers, parametrizations.weight_norm(nn.Linear(3, 4)))


def _all_but(name):
    return {key: torch.ones_like(each) for key, each in _model().state_dict().items() if key != name}


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize("gone", [_NORM, _DIRECTION])
def test_the_rest_is_what_the_rule_gives(gone, rng, caplog):
    alone, model = _model(), _model()
    seed = 1 if rng == "stream" else None
    torch.manual_seed(3)
    initcfg.init_weights(alone, _NORMAL, seed=seed, rng=rng)
    rules = [_NORMAL, dict(type="Pretrained", checkpoint=_all_but(gone))]
    torch.manual_seed(3)
    plan = initcfg.plan(model, rules)
    ledger = plan.apply(model, seed=seed, rng=rng)
    state = model.state_dict()
    assert torch.equal(state.pop(gone), alone.state_dict()[gone])
    assert all(bool((each == 1).all()) for each in state.values())
    # One of 27 tensors is within what may be missing; the half of a weight is not.
    (load,) = plan.loads
    assert load.missing == (gone,)
    assert (
        load.warning is not None
        and f"12.weight is loaded in part: {load.source} has no {gone}" in load.warning
    )
    assert load.warning in caplog.text
    assert f"{gone}: from Normal(mean=0, std=3) by init_cfg[0]" in str(plan)
    assert ledger["12.weight"].rule == "init_cfg[1]"


def test_the_same_from_json_and_without_a_rule(tmp_path):
    torch.save(_all_but(_NORM), tmp_path / "a.pth")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth"))
    models = _model(), _model()
    plan = initcfg.plan(models[0], [_NORMAL, rule])
    plan.apply(models[0], seed=1)
    initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json()))).apply(models[1], seed=1)
    first, second = (each.state_dict() for each in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert float(first[_NORM].max()) > 2
    kept = _model()
    before = kept.state_dict()[_NORM].clone()
    initcfg.init_weights(kept, rule, seed=1)
    assert torch.equal(kept.state_dict()[_NORM], before)


def test_two_checkpoints_may_have_a_part_each():
    model = _model()
    first = {key: torch.full_like(each, 2.0) for key, each in model.state_dict().items() if key != _DIRECTION}
    rules = [dict(type="Pretrained", checkpoint=each) for each in (first, {_DIRECTION: torch.ones(4, 3)})]
    plan = initcfg.plan(model, rules)
    plan.apply(model, seed=1)
    state = model.state_dict()
    assert bool((state[_NORM] == 2).all()) and bool((state[_DIRECTION] == 1).all())


def test_strict_names_the_part_and_ignore_silences_it():
    state = _all_but(_NORM)
    with pytest.raises(
        errors.CheckpointError, match=r"1 tensor missing there: 12\.parametrizations\.weight\.orig"
    ):
        initcfg.plan(_model(), dict(type="Pretrained", checkpoint=state, strict="model"))
    rule = dict(type="Pretrained", checkpoint=state, ignore=_NORM)
    assert initcfg.plan(_model(), rule).loads[0].warning is None
