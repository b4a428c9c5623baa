"""Parts of a model whose load hooks make tensors: they run in the part, wherever the module stands there."""

from __future__ import annotations

import json

import pytest
import torch
from loading_as_torch import Resized, numbered
from torch import nn

import initcfg
from initcfg.errors import PlanError

_HOOKED = (0, 2, 3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Resized(5), nn.Linear(2, 2), Resized(5), Resized(4)])


class Stage(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


@pytest.fixture
def planned(tmp_path):
    small = {
        f"layers.{place}.{name}": each for place in _HOOKED for name, each in numbered(Resized(3)).items()
    }
    state = small | {"layers.1.weight": torch.ones(2, 2), "layers.1.bias": torch.ones(2)}
    torch.save(state, tmp_path / "a.pth")
    net = Net()
    plan = initcfg.plan(net, dict(type="Pretrained", checkpoint=str(tmp_path / "a.pth")))
    plan.apply(net)
    return plan, net.state_dict()


def test_a_stage_that_counts_its_layers_anew(planned):
    plan, whole = planned
    there = {"layers.0": "layers.2", "layers.1": "layers.3"}
    part = plan.part(Stage(Resized(5), Resized(4)), name_map=there)
    again = initcfg.Plan.from_json(json.loads(json.dumps(part.to_json())))
    assert again == part
    for each in (part, again):
        stage = Stage(Resized(5), Resized(4))
        each.apply(stage)
        right = {name: whole[name.replace(name[:8], there[name[:8]])] for name in stage.state_dict()}
        assert all(torch.equal(right[name], each) for name, each in stage.state_dict().items())
    # What the other stages' hooks do is none of its business.
    assert [(run.path, run.made[0][0]) for run in part.loads[0].hooks] == [
        ("layers.0", "layers.0.positions"),
        ("layers.1", "layers.1.positions"),
    ]


def test_the_module_alone_and_a_part_without_hooks(planned):
    plan, whole = planned
    alone = Resized(5)
    plan.part(alone, name_prefix="layers.2.").apply(alone)
    assert all(torch.equal(whole[f"layers.2.{name}"], each) for name, each in alone.state_dict().items())
    plain = nn.Linear(2, 2)
    part = plan.part(plain, name_prefix="layers.1.")
    part.apply(plain)
    assert part.loads[0].hooks == () and plain.weight.tolist() == [[1, 1], [1, 1]]


def test_its_own_load_state_dict_runs_only_where_the_rule_loads_into_it():
    class Own(Resized):
        def load_state_dict(self, state, strict=True, assign=False):
            raise AssertionError("the whole model loads it as a part")

    net = Stage(Own(5))
    state = {f"layers.0.{name}": each for name, each in numbered(Resized(3)).items()}
    plan = initcfg.plan(net, dict(type="Pretrained", checkpoint=state))
    alone = Own(5)
    plan.part(alone, name_prefix="layers.0.").apply(alone)
    assert alone.positions[0, :, 0].tolist() == [0, 0, 4, 4, 8]


def test_a_part_that_lacks_the_module_with_the_hooks_is_refused(planned):
    plan, _ = planned
    stage = nn.Module()
    stage.positions = nn.Parameter(torch.zeros(1, 5, 4))
    with pytest.raises(PlanError, match=r"made by load hooks of layers\.2, which is not whole in the part"):
        plan.part(stage, name_prefix="layers.2.")
    renamed = nn.Module()
    renamed.rows = nn.Parameter(torch.zeros(1, 5, 4))
    with pytest.raises(PlanError, match="not whole in the part"):
        plan.part(renamed, name_map={"rows": "layers.2.positions"})
