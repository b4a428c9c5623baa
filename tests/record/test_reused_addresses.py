"""Modules that come and go while a model is built: a new one may have the address of one that is gone."""

from __future__ import annotations

import gc

import torch
from torch import nn

import initcfg
from initcfg.values import Constant


class OwnScale(nn.Module):
    """Has a parameter of its own, and no part."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(3))
        nn.init.ones_(self.scale)


def test_a_module_at_a_known_address_is_known() -> None:
    """Nothing of the module before it counts for the one that is there now."""
    with initcfg.deferred():
        addresses = set()
        model = OwnScale()
        for _ in range(50):
            addresses.add(id(model))
            del model
            gc.collect()
            model = OwnScale()
            if id(model) in addresses:
                break
        assert id(model) in addresses
    assert initcfg.plan(model)["scale"].value == Constant(1.0)
    assert model.scale.isnan().all(), "it waits for its plan"
    initcfg.plan(model).apply(model, seed=0)
    assert model.scale.tolist() == [1.0, 1.0, 1.0]
