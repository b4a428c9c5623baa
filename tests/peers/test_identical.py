"""Real models: the same generator state in, bit for bit the same weights out, by our executor alone."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from forbidden import ForbiddenError, mmengine_forbidden
from real_models import MODELS, RealModel, build
from torch import nn

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.mm]

TABLE = "bit for bit the weights of MMEngine; what opaque user code wrote of them"


def _built(real: RealModel) -> nn.Module:
    torch.manual_seed(0)
    return build(real)


def _by_mmengine(real: RealModel) -> tuple[dict[str, Any], torch.Tensor]:
    """State and generator state after MMEngine's own `init_weights`."""
    model = _built(real)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.init_weights()  # type: ignore[operator]
    return model.state_dict(), torch.get_rng_state()


def _same_bits(left: Any, right: Any) -> bool:
    if not isinstance(left, torch.Tensor):
        return left == right
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    return torch.equal(_bits(left), _bits(right))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _differing(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    assert list(left) == list(right)
    return [name for name in left if not _same_bits(left[name], right[name])]


@pytest.mark.parametrize("real", MODELS, ids=lambda real: real.name)
def test_identical(
    real: RealModel, tables: dict[str, list[dict[str, Any]]], recorded: dict[tuple[str, str], Any]
) -> None:
    theirs, generator = _by_mmengine(real)
    model = _built(real)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    versions = {name: parameter._version for name, parameter in model.named_parameters()}

    with mmengine_forbidden(), warnings.catch_warnings():
        # What MMEngine passes over in silence is a warning under compat; test_differences shows it.
        warnings.simplefilter("ignore")
        plan = initcfg.plan(model, compat="mmengine")
        assert torch.equal(torch.get_rng_state(), before), "planning drew random numbers"
        assert versions == {name: each._version for name, each in model.named_parameters()}, "planning wrote"
        ledger = plan.apply(model, rng="torch")

    assert _differing(theirs, model.state_dict()) == []
    assert torch.equal(torch.get_rng_state(), generator)
    assert _ledger_against_plan(plan, ledger) == []
    if real.key in recorded:
        assert _ledger_against_record(ledger, recorded[real.key]) == []
    tables.setdefault(TABLE, []).append({"model": real.name, **_share_of_code(model, ledger)})


def _ledger_against_plan(plan: Any, ledger: Any) -> list[str]:
    """What was done otherwise than planned: by whom, and if a rule, with which value."""
    found = []
    for name, assignment in plan.items():
        by = "nobody" if assignment.value.kind == "Keep" else "rule"
        if assignment.rule is not None and assignment.rule.endswith("init_weights"):
            by = "code"
        if ledger[name].by != by or (by != "code" and ledger[name].value != assignment.value):
            found.append(f"{name}: planned {assignment.value} by {assignment.rule}, but {ledger[name]}")
    return found


def _ledger_against_record(ledger: Any, record: Any) -> list[str]:
    """Where the ledger names another writer than the record of what MMEngine did on this config."""
    by = {
        "initializer": "rule",
        "user_init_weights": "code",
        "torch_default": "nobody",
        "construct": "nobody",
    }
    return [
        f"{each.name}: {ledger[each.name].by}, but {each.source}"
        for each in record.params
        if ledger[each.name].by != by[each.source]
    ]


def _share_of_code(model: nn.Module, ledger: Any) -> dict[str, str]:
    parameters = dict(model.named_parameters())
    by_code = [name for name in parameters if ledger[name].by == "code"]
    elements = sum(parameters[name].numel() for name in by_code)
    total = sum(parameter.numel() for parameter in parameters.values())
    return {
        "parameters": f"{len(parameters):,}",
        "elements": f"{total:,}",
        "by code": f"{len(by_code):,}",
        "of parameters": f"{len(by_code) / len(parameters):.1%}",
        "of elements": f"{elements / total:.1%}",
    }


# -- the harness itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "real", [each for each in MODELS if "resnet18" in each.config or "trident" in each.config], ids=str
)
def test_mmengine_agrees_with_itself(real: RealModel) -> None:
    one, generator_after_one = _by_mmengine(real)
    other, generator_after_other = _by_mmengine(real)
    assert _differing(one, other) == []
    assert torch.equal(generator_after_one, generator_after_other)


def test_a_changed_bit_is_seen() -> None:
    state = {"weight": torch.tensor([0.0, float("nan")])}
    assert _differing(state, {"weight": state["weight"].clone()}) == []
    assert _differing(state, {"weight": torch.tensor([-0.0, float("nan")])}) == ["weight"]


def test_mmengine_is_forbidden() -> None:
    from mmengine.model import BaseModule, ConstantInit, weight_init

    module = BaseModule(init_cfg={"type": "Constant", "val": 1.0, "layer": "Linear"})
    with mmengine_forbidden():
        with pytest.raises(ForbiddenError, match=r"BaseModule\.init_weights"):
            module.init_weights()
        with pytest.raises(ForbiddenError, match=r"ConstantInit\.__call__"):
            ConstantInit(val=1.0)(nn.Linear(1, 1))
        with pytest.raises(ForbiddenError, match="initialize"):
            weight_init.initialize(module, [])
    weight_init.initialize(module, [])
    module.init_weights()


def test_there_are_enough_models() -> None:
    assert len(MODELS) >= 40
    assert len({real.name for real in MODELS}) == len(MODELS)
    assert {real.package for real in MODELS} == {"mmdet", "mmseg", "mmpretrain"}
