"""Export: rules reach what is planned, and nothing else, whatever the classes and ties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import Vit, alone, exported, written
from torch import nn
from torch.nn.utils import parametrizations

import initcfg
from initcfg._plan.export import init_cfg_of
from initcfg.values import Constant

# -- what must not be reached --------------------------------------------------------------------


def eager(make: Callable[[], nn.Module], init_cfg: Any) -> list[dict[str, Any]]:
    model = make()
    plan = initcfg.plan(model, init_cfg)
    rules = init_cfg_of(plan, model)
    assert written(alone(make(), rules)) == written(plan)
    return rules


@pytest.mark.parametrize(
    "rule",
    [
        dict(type="Normal", layer="Linear", std=0.02, bias=None),
        dict(layer="Linear", bias=1),
        dict(type="Constant", param="blocks.3.proj.weight", val=2),
        dict(type="Xavier", param="*.qkv.weight", gain=0.5, distribution="normal"),
        dict(type="Normal", layer="Linear", std=0.02, bias=1, exclude="head"),
    ],
)
def test_a_rule_is_found_again(rule: dict[str, Any]) -> None:
    (found,) = eager(Vit, rule)
    assert found == rule


def test_nothing_planned_is_no_rule() -> None:
    model = Vit()
    assert init_cfg_of(initcfg.plan(model), model) == []


def test_a_name_selects_where_most_are_kept() -> None:
    (rule,) = eager(lambda: Vit(20), dict(type="Normal", name="blocks.7", layer="Linear", std=0.02, bias=1))
    assert rule["type"] == "Normal"
    assert rule["name"] in ("blocks.7", ["blocks.7.qkv", "blocks.7.proj"])


def test_buffers() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.Sequential(*[nn.BatchNorm2d(2) for _ in range(3)])
            self.register_buffer("table", torch.zeros(3))

    rules = eager(
        Holder,
        [dict(type="Constant", val=5, buffer="*.running_mean"), dict(type="Constant", val=1, buffer="table")],
    )
    assert rules == [
        {"type": "Constant", "buffer": "*.running_mean", "val": 5},
        {"type": "Constant", "buffer": "table", "val": 1},
    ]


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_checkpoints(prefix: str, tmp_path: Path) -> None:
    def make() -> nn.Module:
        body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        return nn.ModuleDict({"backbone": body, "head": nn.Linear(2, 2)})

    path = str(tmp_path / "weights.pth")
    torch.save({prefix + name: item for name, item in make()["backbone"].state_dict().items()}, path)  # type: ignore[index]
    load = {"type": "Pretrained", "checkpoint": path, **({"prefix": prefix} if prefix else {})}
    rule = dict(type="Normal", layer="Linear", std=0.02, bias=1)
    override = dict(weight=None, override={"name": "backbone", **load})
    assert eager(make, [rule, override]) == [rule, override]


def test_a_whole_checkpoint(tmp_path: Path) -> None:
    path = str(tmp_path / "weights.pth")
    torch.save(Vit().state_dict(), path)
    rule = dict(type="Pretrained", checkpoint=path)
    assert eager(Vit, rule) == [rule]


def test_checkpoints_of_scattered_tensors(tmp_path: Path) -> None:
    path = str(tmp_path / "weights.pth")
    torch.save(nn.Linear(2, 2).state_dict(), path)

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    value = {"kind": "FromCheckpoint", "source": path, "key": "weight"}
    rule = dict(type="Value", param=["0.weight", "1.weight"], value=value)
    assert eager(make, [rule, dict(layer="Linear", bias=2)])[-1]["type"] == "Value"


def test_groups_as_torch_counts_them() -> None:
    def make() -> nn.Module:
        net = nn.Sequential(*[nn.Conv2d(2**i, 2**i, 3, groups=2**i // 2, bias=False) for i in range(1, 5)])
        for conv in net:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
        return net

    (rule,) = exported(make)
    assert (rule["type"], rule["layer"], rule["in_axis"], rule["out_axis"]) == ("Kaiming", "Conv2d", 1, 0)


def test_code_is_not_reached() -> None:
    class Head(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self) -> None:
            nn.init.ones_(self.fc.weight)

    class Net(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Normal", layer="Linear", std=0.5))
            self.head, self.body = Head(), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    model = Net()
    plan = initcfg.plan(model)
    assert plan["head.fc.weight"].value == Constant(1.0)
    assert plan["head.fc.bias"].rule == "model.init_cfg"
    # What the code says becomes a rule, too.
    assert {"type": "Constant", "param": "head.fc.weight", "val": 1} in init_cfg_of(plan, model)


def test_code_that_cannot_be_said_is_not_reached() -> None:
    class Head(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def init_weights(self) -> None:
            self.fc.weight.data.numpy()[:] = 1
            self.fc.bias.data.numpy()[:] = 1

    class Net(initcfg.BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Normal", layer="Linear", std=0.5))
            self.head, self.body = Head(), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    model = Net()
    plan = initcfg.plan(model)
    assert plan["head.fc.weight"].value.kind == "Opaque"
    assert init_cfg_of(plan, model) == [
        {"type": "Normal", "layer": "Linear", "std": 0.5, "bias": 0, "exclude": "head"}
    ]


# -- classes and ties ----------------------------------------------------------------------------


def test_ties() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(6, 4, padding_idx=2), nn.Embedding(6, 4)
            self.out = nn.Linear(4, 6, bias=False)
            self.out.weight = self.words.weight

    assert exported(Net) == [{"type": "Normal", "layer": "Embedding"}]


def test_a_shared_module() -> None:
    def make() -> nn.Module:
        linear = nn.Linear(3, 3)
        return nn.ModuleDict({"b": nn.Sequential(linear), "a": nn.Sequential(linear, nn.Linear(3, 3))})

    assert exported(make) == [{"type": "TorchDefault", "layer": "Linear"}]


class Plain(nn.Linear):
    """Without a word of its own."""


class Own(nn.Linear):
    """With a way of its own."""

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 3)
        nn.init.constant_(self.bias, 4)


def test_a_derived_class_follows_its_base() -> None:
    rules = exported(lambda: nn.Sequential(Own(2, 2), nn.Linear(2, 2), Plain(2, 2), nn.Linear(2, 2)))
    assert rules == [
        {"type": "TorchDefault", "layer": "Linear", "exclude": "0"},
        {"type": "Constant", "layer": "Own", "val": 3, "bias": 4},
    ]


def test_classes_of_one_name() -> None:
    other = type("Linear", (nn.Module,), {"__init__": _other_init, "__module__": "elsewhere"})
    rules = exported(lambda: nn.Sequential(nn.Linear(2, 2), other(), nn.Linear(2, 2)))
    assert {"type": "TorchDefault", "layer": "torch.nn.Linear"} in rules
    assert {"type": "Constant", "layer": "elsewhere.Linear", "val": 3} in rules


def _other_init(self: Any) -> None:
    nn.Module.__init__(self)
    self.weight = nn.Parameter(torch.full((2, 2), 3.0))


def test_parametrized_weights() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            *[parametrizations.weight_norm(nn.Linear(3, 3)) for _ in range(3)], nn.Linear(3, 2)
        )

    (rule,) = eager(make, dict(type="Kaiming", layer="Linear", mode="fan_in", nonlinearity="relu", bias=1))
    assert rule["layer"] == "Linear"


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_layers_that_a_rule_cannot_set() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 3), nn.Linear(3, 3))

    rules = eager(
        make,
        [dict(type="Normal", param=["0.weight_v", "1.weight"]), dict(type="Constant", param="*.bias", val=1)],
    )
    assert "layer" not in {key for rule in rules for key in rule}
