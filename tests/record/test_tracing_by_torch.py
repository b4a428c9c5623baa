"""torch.jit.trace within code that is recorded: where it fails, the error is ours."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


class _Traced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 4))
        fill = torch.jit.trace(lambda each: each * 0 + 4, torch.zeros(3, 4))
        self.weight.data.copy_(fill(self.weight.data))


def test_it_says_that_both_follow_each_operation():
    for build in (lambda: initcfg.trace(_Traced), _deferred):
        with pytest.raises(
            errors.PlanError, match=r"torch\.jit\.trace failed while this code was recorded"
        ) as caught:
            build()
        assert isinstance(caught.value, RuntimeError)
        assert "torch.jit.script" in (caught.value.fix or "")
    assert torch.equal(_Traced().weight, torch.full((3, 4), 4.0))


def _deferred() -> nn.Module:
    with initcfg.deferred():
        return _Traced()


def test_what_traces_elsewhere_goes_on():
    traced = torch.jit.trace(lambda each: each + 1, torch.zeros(2))
    assert torch.equal(traced(torch.ones(2)), torch.full((2,), 2.0))
    with pytest.raises(RuntimeError) as caught:
        torch.jit.trace(lambda each: each @ torch.ones(3), torch.zeros(2))
    assert not isinstance(caught.value, errors.InitcfgError)
