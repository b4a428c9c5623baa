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
