"""Random trees of real MMEngine modules: its own ``init_weights`` against our plan and apply."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from forbidden import mmengine_forbidden
from hypothesis import HealthCheck, event, given, settings
from torch import nn
from trees import Tree, build, trees

import initcfg
from initcfg.errors import ApplyError, InitcfgError

pytestmark = [pytest.mark.peers, pytest.mark.mm, pytest.mark.usefixtures("real")]

many = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def built(tree: Tree, family: str) -> nn.Module:
    torch.manual_seed(0)
    return build(tree, family)


def by_mmengine(tree: Tree) -> tuple[nn.Module, torch.Tensor] | Exception:
    model = built(tree, "mmengine")
    torch.manual_seed(1)
    try:
        model.init_weights()  # type: ignore[operator]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        return error
    return model, torch.get_rng_state()


def check(tree: Tree, ours: nn.Module, run: Any) -> None:
    theirs = by_mmengine(tree)
    torch.manual_seed(1)
    if isinstance(theirs, Exception):
        event(f"MMEngine raises {type(theirs).__name__}")
        with pytest.raises((InitcfgError, ApplyError)):
            run(ours)
        return
    model, generator = theirs
    with mmengine_forbidden():
        run(ours)
    state = ours.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(bits(tensor), bits(state[name])), name
    assert torch.equal(torch.get_rng_state(), generator)
    flags = {name: getattr(module, "is_init", None) for name, module in model.named_modules()}
    assert {name: getattr(module, "is_init", None) for name, module in ours.named_modules()} == flags
    event("identical")


@many
@given(trees(exact=True))
def test_modules_of_mmengine_are_planned_and_applied_by_ours(tree: Tree) -> None:
    def run(model: nn.Module) -> None:
        plan = initcfg.plan(model, compat="mmengine")
        plan.apply(model, rng="torch")

    check(tree, built(tree, "mmengine"), run)


@many
@given(trees(exact=True))
def test_our_compat_classes_do_what_mmengines_do(tree: Tree) -> None:
    check(tree, built(tree, "compat"), lambda model: model.init_weights())


@many
@given(trees(exact=True, duck=False, keep_lstm=False))
def test_each_rule_alone_by_initialize(tree: Tree) -> None:
    from mmengine.model import initialize

    from initcfg.compat import mmengine as compat

    model, ours = built(tree, "mmengine"), built(tree, "compat")
    others = dict(ours.named_modules())
    for name, module in model.named_modules():
        init_cfg = getattr(module, "init_cfg", None)
        if not isinstance(init_cfg, (dict, list)) or not init_cfg:
            continue
        torch.manual_seed(2)
        try:
            initialize(module, init_cfg)
        except (AttributeError, ValueError, RuntimeError) as error:
            event(f"MMEngine raises {type(error).__name__}")
            with pytest.raises(InitcfgError):
                compat.initialize(others[name], init_cfg)
            return
        generator = torch.get_rng_state()
        torch.manual_seed(2)
        with mmengine_forbidden():
            compat.initialize(others[name], init_cfg)
        assert torch.equal(torch.get_rng_state(), generator)
        state = ours.state_dict()
        assert all(
            torch.equal(bits(tensor), bits(state[key])) for key, tensor in model.state_dict().items()
        ), name
