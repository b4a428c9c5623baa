"""Formulas that fill with what JSON does not hold, as causal masks do: printed, explained, and shown."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import initcfg


class Masked(nn.Module):
    """A causal mask, which is a parameter or a buffer."""

    def __init__(self, number: float, parameter: bool) -> None:
        super().__init__()
        self.mask: torch.Tensor
        mask = torch.full((4, 4), number).triu(1)
        if parameter:
            self.mask = nn.Parameter(mask, requires_grad=False)
        else:
            self.register_buffer("mask", mask)


@pytest.mark.parametrize("parameter", [True, False])
@pytest.mark.parametrize(("number", "said"), [(-math.inf, "-inf"), (math.inf, "inf"), (math.nan, "nan")])
def test_whatever_it_fills_with_is_said(number, said, parameter):
    plan = initcfg.trace(lambda: Masked(number, parameter))
    text = f"Formula({said}, triu)"
    assert str(plan["mask"].value) == text
    for each in (str(plan), plan.explain("mask"), plan.to_html()):
        assert text in each
    model = Masked(0.0, parameter)
    assert "1 by rules" in str(plan.apply(model, seed=0))
    assert torch.equal(model.mask.isnan(), Masked(number, parameter).mask.isnan())
    assert torch.equal(model.mask.nan_to_num(), Masked(number, parameter).mask.nan_to_num())
