"""Models on the meta device whose constructors initialize by themselves: an error, and never a guess."""

from __future__ import annotations

import pytest
import torch
from processes import run_ranks
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


def test_a_plan_of_another_dtype_says_how_to_trace() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4))

    with torch.device("meta"):
        model = build().to(torch.bfloat16)
    with pytest.raises(errors.ApplyError, match=r"build\(\)\.to\(torch\.bfloat16\)"):
        initcfg.materialize(model, plan=initcfg.trace(build), seed=0)
    plan = initcfg.trace(lambda: build().to(torch.bfloat16))
    assert initcfg.materialize(model, plan=plan, seed=0)["0.weight"].dtype == "bfloat16"


def test_after_a_refused_seed_the_memory_is_not_taken_for_a_model() -> None:
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    with pytest.raises(errors.PlanError, match="seed"):
        initcfg.materialize(model, seed=-1)
    with pytest.raises(errors.ApplyError, match="given memory, which was taken back"):
        model(torch.ones(1, 4))
    assert initcfg.materialize(model, seed=0).written() == ["weight", "bias"]
    assert model.weight.abs().max() <= 0.5
    assert model.weight.std() > 0.1


def stages(rank: int, world: int) -> bool:
    """Two stages, of which the second cannot be initialized."""
    with torch.device("meta"):
        model = Direct() if rank else nn.Linear(4, 4)
    try:
        initcfg.materialize(model, seed=0, process_group=torch.distributed.group.WORLD)
    except errors.InitcfgError as error:
        assert all(each.is_meta for each in model.parameters())
        raise error
    return True


def test_a_refused_stage_stops_the_others() -> None:
    first, second = run_ranks(2, stages, timeout=60)
    assert (first.error, second.error) == ("AgreementError", "ApplyError")
    assert "Rank 1 failed, so all stop: Nothing says what 2 tensors" in first.text
    assert first.seconds < 20


def other_seeds(rank: int, world: int) -> str:
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    with pytest.raises(errors.AgreementError, match="do not agree on the seed"):
        initcfg.materialize(model, seed=rank, process_group=torch.distributed.group.WORLD)
    with pytest.raises(errors.ApplyError) as caught:
        model.state_dict()
    return str(caught.value)


def test_ranks_of_other_seeds_have_closed_models() -> None:
    for result in run_ranks(2, other_seeds, timeout=60):
        assert result.error is None, result.trace
        assert "given memory" in result.value
