"""Wrappers change neither names nor weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initcfg


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]


def _inner_wrapped(model: nn.Module) -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model[0] = checkpoint_wrapper(model[0])  # type: ignore[operator]
    return model


@pytest.mark.parametrize("wrap", [nn.DataParallel, _compiled, _inner_wrapped])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrappers_change_neither_names_nor_weights(wrap: Any) -> None:
    def make() -> nn.Module:
        inner = initcfg.Sequential(nn.Linear(3, 3), init_cfg=dict(type="Normal", layer="Linear", std=4))
        return nn.Sequential(inner, nn.Linear(3, 2))

    rule = dict(type="Uniform", layer="Linear", bias=1)
    plain, wrapped = make(), wrap(make())
    plan = initcfg.plan(plain, rule)
    assert initcfg.plan(wrapped, rule) == plan
    plan.apply(plain, seed=4)
    initcfg.init_weights(wrapped, rule, seed=4)
    for left, right in zip(plain.parameters(), wrapped.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_child_called_module_is_no_wrapper() -> None:
    model = nn.Module()
    model.module = nn.Linear(2, 2)
    assert list(initcfg.plan(model)) == ["module.weight", "module.bias"]
