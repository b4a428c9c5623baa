"""A model on the meta device of which something stays there: it is said."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

import initcfg


class OnMeta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.own = nn.Parameter(torch.full((3,), 2.0))


def test_parameters_that_stay_on_meta_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with torch.device("meta"):
        model = OnMeta()
    model.first.to_empty(device="cpu")
    with caplog.at_level(logging.WARNING, logger="initcfg"):
        initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1))
    (said,) = [each for each in caplog.messages if "no memory" in each]
    assert said.startswith("1 of 3 parameters still have no memory, on the meta device (own):")
    caplog.clear()

    with caplog.at_level(logging.WARNING, logger="initcfg"):
        initcfg.materialize(model, plan=initcfg.trace(OnMeta))
    assert model.own.tolist() == [2.0] * 3 and not caplog.messages


def test_nothing_is_said_where_all_have_memory(caplog: pytest.LogCaptureFixture) -> None:
    with initcfg.deferred():
        model = OnMeta()
    with caplog.at_level(logging.WARNING, logger="initcfg"):
        initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1))
    assert not caplog.messages and model.own.tolist() == [2.0] * 3
