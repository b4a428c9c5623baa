"""What is no rule at all: an error of the package, whatever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import PatternError, RuleTypeError, UnknownInitializerError


@pytest.mark.parametrize("type_", [torch.zeros(2), torch.float32])
def test_a_type_that_is_a_tensor_or_a_dtype(type_: Any):
    with pytest.raises(UnknownInitializerError, match="is not an initializer"):
        initcfg.plan(nn.Linear(1, 1), dict(type=type_, layer="Linear"))


def test_rules_that_contain_themselves():
    own: dict[str, Any] = dict(type="Constant", val=0)
    own["override"] = own
    for use in (lambda: initcfg.BaseModule(own), lambda: initcfg.plan(nn.Linear(1, 1), own)):
        with pytest.raises(RuleTypeError, match="contains itself"):
            use()


@pytest.mark.parametrize("array", [np.ones(3), np.zeros(1), torch.ones(2), torch.zeros(1), np.float64(0)])
def test_an_array_is_no_init_cfg(array):
    class Net(initcfg.BaseModule):
        def __init__(self):
            super().__init__(array)
            self.fc = nn.Linear(2, 2)

    repr(Net())
    with pytest.raises(RuleTypeError, match="a dict or a list of dicts"):
        initcfg.plan(Net())


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [("*.c_prj.weight", "*.c_proj.weight"), ("*.MLP.c_proj.bias", "*.mlp.c_proj.bias")],
)
def test_a_pattern_with_one_wrong_word_is_told_with_the_right_one(pattern: str, meant: str) -> None:
    block = nn.ModuleDict({"mlp": nn.ModuleDict({"c_proj": nn.Linear(2, 2), "c_fc": nn.Linear(2, 2)})})
    model = nn.ModuleDict({"h": nn.ModuleList([block])})
    with pytest.raises(PatternError, match="matches nothing") as caught:
        initcfg.plan(model, dict(type="Constant", val=0, param=pattern))
    assert list(caught.value.meant) == [meant]
