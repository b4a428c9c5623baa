"""Initializers of one's own: what goes wrong in them names the rule and the tensor."""

from __future__ import annotations

import pytest
from torch import nn

import initcfg
from initcfg import errors


@pytest.mark.parametrize("result", [3, None])
def test_initializers_of_ones_own_that_go_wrong(result):
    class Wrong(initcfg.BaseInit):
        def value(self, layout):
            if result is None:
                raise ZeroDivisionError("inside")
            return result

    with pytest.raises(errors.InitcfgError) as caught:
        initcfg.plan(nn.Linear(2, 2), dict(type=Wrong, layer="Linear"))
    assert "Wrong" in str(caught.value)
    assert "weight, shape (2, 2)" in str(caught.value)
