"""The functions that a user calls: the seed of a build, and arguments of the wrong kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors


def test_with_a_seed_the_constructors_draws_are_covered_too(tmp_path):
    cfg = dict(type="Linear", in_features=3, out_features=3)
    state = torch.get_rng_state()
    first, second, other = (initcfg.build(cfg, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_keys_and_types_of_the_wrong_kind():
    with pytest.raises(errors.RuleTypeError, match="keys of a rule are strings, not 2"):
        initcfg.plan(nn.Linear(2, 2), {"type": "Normal", "layer": "Linear", 2: 3})
    with pytest.raises(errors.UnknownInitializerError, match="is not an initializer"):
        initcfg.plan(nn.Linear(2, 2), dict(type=nn.Linear, layer="Linear"))
    with pytest.raises(errors.ArgumentError, match="beyond what a float can hold"):
        initcfg.plan(nn.Linear(2, 2), dict(type="Normal", layer="Linear", std=10**400))
    plan = initcfg.plan(nn.Linear(2, 2))
    with pytest.raises(errors.ApplyError, match="not to 3"):
        plan.apply(3)
    with pytest.raises(errors.ApplyError, match="not True"):
        plan.apply(nn.Linear(2, 2), seed=True)
    with pytest.raises(errors.BuildError, match="not None"):
        initcfg.build(None)


def test_a_plan_or_a_ledger_in_the_place_of_rules():
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    for given, fix in ((plan, "plan.apply(model)"), (plan.apply(model), "ledger.plan.apply(model)")):
        for call in (initcfg.plan, initcfg.init_weights, initcfg.initialize):
            with pytest.raises(errors.RuleTypeError, match="An init_cfg is rules, and a") as caught:
                call(model, given)
            assert caught.value.fix == f"Write {fix}."
    with pytest.raises(errors.ApplyError, match="a plan was") as caught_here:
        initcfg.materialize(model, plan)
    assert caught_here.value.fix == "Name it: initcfg.materialize(model, plan=plan)."


def test_what_is_no_model_is_not_printed_whole():
    state = nn.Linear(100, 100).state_dict()
    plan = initcfg.plan(nn.Linear(2, 2))
    for call in (
        initcfg.plan,
        initcfg.init_weights,
        plan.apply,
        plan.part,
        lambda each: initcfg.build([each]),
    ):
        with pytest.raises(errors.InitcfgError) as caught:
            call(state)
        assert len(str(caught.value)) < 200


def test_init_weights_takes_what_apply_takes(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "a.safetensors")
    model = nn.Linear(2, 2)
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.safetensors"))
    ledger = initcfg.init_weights(model, rule, assign=True, atomic=True)
    assert ledger["weight"].loaded.mapped and torch.equal(model.weight, torch.ones(2, 2))
