"""Models on the meta device whose constructors initialize by themselves: an error, and never a guess."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors


def _narrow(module: nn.Module) -> None:
    nn.init.normal_(module.weight, std=0.01)  # type: ignore[arg-type]


class Direct(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        nn.init.zeros_(self.weight)


class ByMethod(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self._set_up()

    def _set_up(self) -> None:
        self._fill()

    def _fill(self) -> None:
        nn.init.zeros_(self.weight)


class ByFunction(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        _narrow(self)


class Inherited(ByMethod):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 4)
        self._later()

    def _later(self) -> None:
        self.proj.apply(_narrow)


class OwnReset(nn.Module):
    """Its reset_parameters says everything, so that nothing has to be guessed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 3.0)


@pytest.mark.parametrize("model_class", [Direct, ByMethod, ByFunction, Inherited, Around])
def test_other_code_is_named(model_class: type[nn.Module]) -> None:
    with torch.device("meta"):
        model = model_class()
    with pytest.raises(errors.ApplyError, match=r"Nothing says what .*\.__init__ that does"):
        initcfg.materialize(model, seed=0)
    assert all(each.is_meta for each in model.parameters())
    plan = initcfg.trace(model_class)
    initcfg.materialize(model, plan=plan, seed=0)
    expected = model_class()
    plan.apply(expected, seed=0)
    for name, each in expected.named_parameters():
        assert torch.equal(model.get_parameter(name), each), name


def test_own_reset_parameters_is_taken() -> None:
    with torch.device("meta"):
        model = OwnReset()
    ledger = initcfg.materialize(model, seed=0)
    assert (str(ledger["weight"].value), model.weight.tolist()) == ("Constant(3)", [3.0] * 4)
