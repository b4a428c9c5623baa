"""Parts that torch.jit, torch.fx, torch.export or torch.compile made: planned and traced around."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.fx
from torch import nn

import initcfg
from initcfg.errors import TensorError

NORMAL = dict(type="Normal", std=0.1)


def quietly(make: Callable[[], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        # torch.jit is deprecated in newer versions of torch.
        warnings.simplefilter("ignore")
        return make()


def traced(module: nn.Module) -> nn.Module:
    return torch.jit.trace(module, torch.zeros(1, 4))


def frozen(module: nn.Module) -> nn.Module:
    return torch.jit.freeze(torch.jit.script(module.eval()))


def exported(module: nn.Module) -> nn.Module:
    return torch.export.export(module, (torch.zeros(1, 4),)).module()


class Mixed(nn.Module):
    def __init__(self, compile_part: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.part = quietly(lambda: compile_part(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))))


SCRIPTED = [torch.jit.script, traced]
WITH_TENSORS = [*SCRIPTED, torch.fx.symbolic_trace, exported, torch.compile]


@pytest.mark.parametrize("compile_part", [*WITH_TENSORS, frozen])
def test_a_rule_for_the_rest(compile_part: Callable[[nn.Module], nn.Module]) -> None:
    model, plain = Mixed(compile_part), nn.ModuleDict({"head": nn.Linear(4, 4)})
    before = {name: tensor.clone() for name, tensor in model.part.state_dict().items()}
    initcfg.init_weights(model, dict(NORMAL, name="head"), seed=0)
    initcfg.init_weights(plain, dict(NORMAL, name="head"), seed=0)
    assert torch.equal(model.head.weight, plain["head"].weight)
    after = model.part.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("compile_part", WITH_TENSORS)
def test_rules_by_name_reach_its_tensors(compile_part: Callable[[nn.Module], nn.Module]) -> None:
    model, plain = Mixed(compile_part), nn.ModuleDict({"part": nn.Sequential(nn.Linear(4, 4))})
    initcfg.init_weights(model, dict(NORMAL, param="part.0.weight"), seed=0)
    initcfg.init_weights(plain, dict(NORMAL, param="part.0.weight"), seed=0)
    weight = next(iter(model.part.parameters()))
    assert torch.equal(weight, plain["part"][0].weight)
    # What runs is what was written.
    part = model.part if compile_part in SCRIPTED else None
    if part is not None:
        bias = dict(part.named_parameters())["0.bias"]
        expected = nn.functional.layer_norm(weight.sum(1) + bias, (4,))
        assert torch.allclose(part(torch.ones(2, 4)), expected.expand(2, 4), atol=1e-5)


@pytest.mark.parametrize("compile_part", SCRIPTED)
def test_layers_do_not_mean_what_torch_jit_compiled(compile_part: Callable[[nn.Module], nn.Module]) -> None:
    plan = initcfg.plan(Mixed(compile_part), dict(NORMAL, layer="Linear"))
    assert [name for name in plan if plan[name].rule] == ["head.weight", "head.bias"]
    assert "part is compiled by torch.jit (from a Sequential): layer= does not mean" in " ".join(plan.notes)
    assert initcfg.Plan.from_json(plan.to_json()).notes == plan.notes


def test_a_frozen_part_holds_constants() -> None:
    plan = initcfg.plan(Mixed(frozen), dict(NORMAL, layer="Linear"))
    assert list(plan) == ["head.weight", "head.bias"]
    assert (
        "part is compiled by torch.jit (from a Sequential): it holds its weights as constants"
        in plan.notes[0]
    )


@pytest.mark.parametrize("compile_part", [*WITH_TENSORS, frozen])
def test_a_build_is_traced(compile_part: Callable[[nn.Module], nn.Module]) -> None:
    plan = initcfg.trace(lambda: Mixed(compile_part))
    assert str(plan["head.weight"].value) == "Uniform(a=-0.5, b=0.5)"
    torch.manual_seed(3)
    built = Mixed(compile_part)
    model = Mixed(compile_part)
    torch.manual_seed(3)
    plan.apply(model, rng="torch")
    for ours, theirs in zip(model.state_dict().values(), built.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("compile_part", [*WITH_TENSORS, frozen])
def test_a_deferred_build(compile_part: Callable[[nn.Module], nn.Module]) -> None:
    with initcfg.deferred():
        model = Mixed(compile_part)
    initcfg.init_weights(model, dict(NORMAL, name="head"), seed=0)
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
    assert 0.04 < model.head.weight.std().item() < 0.16


def test_a_compiled_root() -> None:
    model = quietly(lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 4))))
    plan = initcfg.plan(model, dict(type="Constant", val=2.0, param="*.weight"))
    plan.apply(model, seed=0)
    assert next(model.parameters()).unique().tolist() == [2.0]
    assert plan.notes[0].startswith("The model is compiled by torch.jit (from a Sequential)")


def test_a_compiled_part_without_memory_is_refused() -> None:
    model = quietly(lambda: torch.jit.script(nn.Linear(4, 4, device="meta")))
    with pytest.raises(TensorError, match="has compiled from a Linear"):
        initcfg.materialize(model, dict(NORMAL, param="*"), seed=0)


def test_code_that_initializes_a_compiled_part_is_traced() -> None:
    model = Mixed(torch.jit.script)
    plan = initcfg.trace(lambda each: [nn.init.zeros_(p) for p in each.part.parameters()], model)
    assert plan["part.0.weight"].value == initcfg.values.Constant(0.0)
    assert next(iter(model.part.parameters())).abs().sum() > 0
