"""Load hooks: what they may not do, and where else than on a plain model they run."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from loading_as_torch import Resized, State, loaded_as_torch_does, numbered
from torch import nn

import initcfg
from initcfg import errors


def test_hooks_that_draw_read_or_fail(tmp_path):
    torch.save(torch.full((2,), 4.0), tmp_path / "beside.pth")

    class Drawing(nn.Module):
        def __init__(self, hook: Any) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))
            self._register_load_state_dict_pre_hook(hook)

    def draw(state: State, *_: Any) -> None:
        random.random(), np.random.rand()
        state["weight"] = state["weight"] + torch.randn(2)

    def read(state: State, *_: Any) -> None:
        state["weight"] = torch.load(tmp_path / "beside.pth")

    def fail(state: State, *_: Any) -> None:
        raise KeyError("no such thing")

    state = {"weight": torch.ones(2)}
    rule = {"type": "Pretrained", "checkpoint": state}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    made = []
    initcfg.plan(Drawing(draw), rule)
    assert random.getstate() == before[1] and np.array_equal(np.random.get_state()[1], before[2])
    for seed in (0, 0, 1):
        model = Drawing(draw)
        initcfg.plan(model, rule).apply(model, seed=seed)
        made.append(model.weight.tolist())
    assert made[0] == made[1] != made[2]
    assert torch.equal(torch.get_rng_state(), before[0])
    model = Drawing(read)
    initcfg.init_weights(model, rule, seed=0)
    assert model.weight.tolist() == [4.0, 4.0]
    model = Drawing(fail)
    with pytest.raises(errors.CheckpointError, match=r"cannot run on 'a state_dict'.*KeyError") as caught:
        initcfg.plan(model, rule)
    assert re.search(r"fail \(.*/test_load_hooks_limits\.py:\d+\)", caught.value.where)


def test_hooks_that_do_something_else_on_numbers_are_an_error_before_the_first_write(tmp_path):
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
            self._register_load_state_dict_pre_hook(self.hook)

        def hook(self, state: State, *_: Any) -> None:
            if not state["a"].is_meta:
                state["b"] = state["a"] * 2

    model = Fickle()
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": {"a": torch.ones(2), "b": torch.ones(2)}})
    with pytest.raises(errors.CheckpointError, match="load hooks give 'b' float32 of shape"):
        plan.apply(model, seed=0)
    assert model.a.tolist() == [0, 0] and model.b.tolist() == [0, 0]
    # Another model's hooks do not make what the plan counts on.
    plan = initcfg.plan(Resized(5), {"type": "Pretrained", "checkpoint": numbered(Resized(3))})
    plain = Resized(5)
    plain._load_state_dict_pre_hooks.clear()
    with pytest.raises(errors.ApplyError, match="load hooks of 'the model', and this model has none"):
        plan.apply(plain, seed=0)


def test_hooks_that_change_the_model_itself_are_an_error():
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def _load_from_state_dict(self, state: State, prefix: str, *rest: Any) -> None:
            self.weight = nn.Parameter(torch.zeros(state[prefix + "weight"].shape))
            super()._load_from_state_dict(state, prefix, *rest)

    model = Growing()
    loaded_as_torch_does(model, {"weight": torch.ones(2)})
    with pytest.raises(errors.CheckpointError, match=r"gives it the shape \(3,\)") as caught:
        initcfg.plan(model, {"type": "Pretrained", "checkpoint": {"weight": torch.ones(3)}})
    assert "Growing._load_from_state_dict" in caught.value.where
    assert model.weight.shape == (2,)


def test_adaptations_patterns_and_strict_come_after_the_hooks():
    state = numbered(Resized(3))
    model = Resized(5)
    rule = {"type": "Pretrained", "checkpoint": state, "exclude": "positions"}
    plan = initcfg.plan(model, rule)
    plan.apply(model, seed=0)
    assert plan.loads[0].excluded == ("positions",) and model.positions.abs().max() == 0

    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 3))
            self._register_load_state_dict_pre_hook(lambda state, *_: state.update(weight=state["w"] + 1))

    turned = Turning()
    rule = {"type": "Pretrained", "checkpoint": {"w": torch.zeros(3, 2)}}
    assert initcfg.plan(turned, rule).loads[0].mismatched == (("weight", (2, 3), (3, 2)),)
    initcfg.init_weights(turned, {**rule, "adapt": {"weight": "transpose"}}, seed=0)
    assert turned.weight.tolist() == [[1.0] * 3] * 2


def test_a_deferred_model_and_one_on_meta_are_planned_alike(tmp_path):
    rule = {"type": "Pretrained", "checkpoint": numbered(Resized(3))}
    with initcfg.deferred():
        model = Resized(5)
    plan = initcfg.plan(model, rule)
    assert plan["positions"].value.kind == "Hooked"
    plan.apply(model, seed=0)
    assert model.positions[0, :, 0].tolist() == [0, 0, 4, 4, 8]
    with torch.device("meta"):
        empty = Resized(5)
    plan = initcfg.plan(empty, rule)
    plan.save_weights(tmp_path / "out", empty, seed=0)
    (file,) = (tmp_path / "out").glob("*.safetensors")
    written = safetensors.torch.load(file.read_bytes())
    assert torch.equal(written["positions"], model.positions)


def test_extra_state_is_not_set_and_that_is_said(caplog):
    class Extra(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def get_extra_state(self) -> Any:
            return torch.ones(3)

        def set_extra_state(self, state: Any) -> None:
            raise AssertionError("planning and applying call nothing of this kind")

    model = nn.Sequential(Extra())
    rule = {"type": "Pretrained", "checkpoint": nn.Sequential(Extra()).state_dict()}
    plan = initcfg.plan(model, rule)
    (load,) = plan.loads
    told = "set_extra_state of 0 is not called, though the checkpoint holds a state for it: call it with that"
    assert load.alarms == (told,) and load.warning is not None and told in load.warning
    plan.apply(model, seed=0)
    assert told in caplog.text
    with pytest.raises(errors.CheckpointError, match="set_extra_state of 0 is not called"):
        initcfg.plan(model, rule, strict=True)


def test_a_plan_with_hooks_becomes_a_rule_again(tmp_path):
    torch.save(numbered(Resized(3)), tmp_path / "a.pth")
    model = Resized(5)
    rule = {"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}
    assert initcfg.plan(model, rule).to_init_cfg(model) == [rule]


def test_nothing_runs_where_no_module_has_a_hook():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": model.state_dict()})
    assert plan.loads[0].hooks == ()
