"""Pretrained rules: local files, opened safely, matched in the plan."""

from __future__ import annotations

import collections
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors


class Backbone(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(2, 2, 1)
        self.bn = nn.BatchNorm2d(2)


class Detector(initcfg.BaseModule):
    def __init__(self, **pretrained):
        super().__init__()
        self.backbone = Backbone(dict(type="Pretrained", **pretrained))
        self.head = nn.Linear(2, 2)


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(item.shape, generator=generator) if item.is_floating_point() else item + 7
        for name, item in Backbone().state_dict().items()
    }


def test_parameters_and_buffers_are_loaded(tmp_path, state):
    torch.save(state, tmp_path / "a.pth")
    model = Detector(checkpoint=str(tmp_path / "a.pth"))
    plan = initcfg.plan(model)
    assert plan.loads[0].loaded == 7
    assert plan.loads[0].missing == plan.loads[0].unexpected == ()
    assert plan["backbone.bn.running_mean"].value.kind == "FromCheckpoint"
    ledger = plan.apply(model)
    assert all(torch.equal(item, state[name]) for name, item in model.backbone.state_dict().items())
    assert ledger["backbone.bn.running_var"].rule == "model.backbone.init_cfg"
    assert plan == initcfg.Plan.from_json(plan.to_json())


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("ddp", [False, True])
def test_state_dict_key_and_module_prefix(tmp_path, state, wrapped, ddp):
    saved = {f"module.{name}": item for name, item in state.items()} if ddp else state
    torch.save({"state_dict": saved, "meta": {"epoch": 3}} if wrapped else saved, tmp_path / "a.pth")
    model = Detector(checkpoint=str(tmp_path / "a.pth"))
    initcfg.init_weights(model)
    assert torch.equal(model.backbone.conv.weight, state["conv.weight"])


@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
def test_prefix_and_safetensors(tmp_path, state, prefix):
    saved = {f"backbone.{name}": item for name, item in state.items()} | {"head.weight": torch.ones(1)}
    save_file(saved, tmp_path / "a.safetensors")
    model = Detector(checkpoint=str(tmp_path / "a.safetensors"), prefix=prefix)
    initcfg.init_weights(model)
    assert torch.equal(model.backbone.conv.weight, state["conv.weight"])


def test_what_does_not_fit_is_told(tmp_path, state):
    state["conv.weight"] = torch.ones(3, 2, 1, 1)
    state["extra"] = torch.ones(1)
    del state["bn.bias"]
    torch.save(state, tmp_path / "a.pth")
    plan = initcfg.plan(Detector(checkpoint=str(tmp_path / "a.pth")))
    (load,) = plan.loads
    assert load.mismatched == (("backbone.conv.weight", (2, 2, 1, 1), (3, 2, 1, 1)),)
    assert load.unexpected == ("extra",)
    assert load.missing == ("backbone.bn.bias",)
    assert plan["backbone.conv.weight"].value.kind == "Keep"
    assert "1 missing, 1 unexpected, 1 of another shape" in " ".join(str(plan).split())


def test_nothing_fits(tmp_path, state):
    torch.save({f"net.backbone.{name}": item for name, item in state.items()}, tmp_path / "a.pth")
    model = Detector(checkpoint=str(tmp_path / "a.pth"))
    with pytest.raises(errors.CheckpointError) as caught:
        initcfg.plan(model)
    assert "prefix='net.backbone.'" in str(caught.value)
    assert "model.backbone.init_cfg" in str(caught.value)
    assert initcfg.plan(model, compat="mmengine").unused[0].rule == "model.backbone.init_cfg"
    with pytest.raises(errors.CheckpointError, match="begins with the prefix 'neck"):
        initcfg.init_weights(Detector(checkpoint=str(tmp_path / "a.pth"), prefix="neck"))


def test_a_checkpoint_that_cannot_be_opened_stops_apply_before_the_first_write(tmp_path):
    model = Detector(checkpoint=str(tmp_path / "nothing.pth"))
    plan = initcfg.plan(model, dict(type="Constant", layer="Linear", val=3))
    assert "There is no checkpoint" in plan.loads[0].problem
    before = model.head.weight.clone()
    with pytest.raises(errors.CheckpointNotFoundError):
        plan.apply(model)
    assert torch.equal(model.head.weight, before)
    with pytest.raises(errors.UnusedRuleError, match="There is no checkpoint"):
        initcfg.plan(model, strict=True)
    remote = initcfg.plan(Detector(checkpoint="nowhere://resnet50"))
    assert "nowhere" in remote.loads[0].problem


class Attack:
    def __reduce__(self):
        return (collections.deque, ())


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", pickle.dumps({"a": Attack()}), b"PK\x03\x04 broken"]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_hostile_files_are_refused(tmp_path, content, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(errors.CheckpointError):
        initcfg.init_weights(Detector(checkpoint=str(tmp_path / f"a{suffix}")))


def test_pickled_code_never_runs(tmp_path):
    torch.save({"state_dict": {}, "attack": Attack()}, tmp_path / "a.pth")
    with pytest.raises(errors.CheckpointError, match="pickled code is never run"):
        initcfg.init_weights(Detector(checkpoint=str(tmp_path / "a.pth")))


def test_a_module_with_tensors_of_other_types(tmp_path, state):
    torch.save({name: item.double() for name, item in state.items()}, tmp_path / "a.pth")
    model = Detector(checkpoint=str(tmp_path / "a.pth"))
    initcfg.init_weights(model)
    assert model.backbone.conv.weight.dtype == torch.float32
    assert torch.equal(model.backbone.conv.weight, state["conv.weight"])
