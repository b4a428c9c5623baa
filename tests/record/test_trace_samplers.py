"""What the samplers of torch.nn.init refuse, they refuse while code is recorded, in their own words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import initcfg


@pytest.mark.parametrize(
    "call",
    [
        lambda weight: nn.init.eye_(weight, 3),  # type: ignore[call-arg]
        lambda weight: nn.init.orthogonal_(weight, foo=1),  # type: ignore[call-arg]
        lambda weight: nn.init.orthogonal_(weight, gain="relu"),  # type: ignore[arg-type]
        nn.init.sparse_,
        nn.init.dirac_,
    ],
)
def test_a_refused_call_is_refused_alike(call: Callable[[torch.Tensor], object]) -> None:
    with pytest.raises(Exception) as there:
        call(torch.empty(4, 4))

    def build() -> nn.Module:
        model = nn.Linear(4, 4)
        call(model.weight)
        return model

    for record in (lambda: initcfg.trace(build), lambda: _deferred(build)):
        with pytest.raises(type(there.value)) as here:
            record()
        assert str(there.value) in str(here.value)


def _deferred(build: Callable[[], nn.Module]) -> None:
    with initcfg.deferred():
        build()
