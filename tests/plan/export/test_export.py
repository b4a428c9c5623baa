"""Export: the rules that a plan becomes give that plan again, and are few."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from trees import LEAVES, Tree, build, trees

import initcfg
from initcfg import Plan, errors
from initcfg._plan.export import init_cfg_of
from initcfg._plan.export.cells import view_of
from initcfg._plan.export.search import differing, plan_of_rules, searched
from initcfg.values import Constant, CopyOf, Normal, Parts, Uniform, Value

UNREACHED = ("Keep", "Computed", "Opaque")


def pending(make: Callable[[], nn.Module]) -> nn.Module:
    with initcfg.deferred():
        return make()


def written(plan: Plan) -> dict[str, Value]:
    """What somebody writes, by name."""
    items = [*plan.parameters.items(), *plan.buffers.items()]
    return {name: item.value for name, item in items if item.value.kind not in UNREACHED}


def alone(model: nn.Module, rules: Any) -> Plan:
    """The plan of these rules on a model with neither defaults nor rules of its own."""
    return initcfg.plan(model, rules)


def exported(make: Callable[[], nn.Module], init_cfg: Any = None) -> list[dict[str, Any]]:
    """The rules for a deferred build, found to give the same plan on an eager one, which has no defaults."""
    model = pending(make)
    plan = initcfg.plan(model, init_cfg)
    rules = init_cfg_of(plan, model)
    assert all(type(rule) is dict for rule in rules)
    assert json.loads(json.dumps(rules)) == rules
    assert yaml.safe_load(yaml.safe_dump(rules, sort_keys=False)) == rules
    assert written(alone(make(), rules)) == written(plan)
    return rules


def fine(init_cfg: Any) -> dict[str, Any]:
    """A deep copy, so that a test may change it."""
    return json.loads(json.dumps(init_cfg))


# -- by class ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(3, 5),
        lambda: nn.Conv2d(4, 6, 3, groups=2),
        lambda: nn.ConvTranspose1d(4, 8, 3, groups=4),
        lambda: nn.Bilinear(3, 4, 5),
        lambda: nn.LSTM(3, 4, proj_size=2, bidirectional=True),
        lambda: nn.GRUCell(2, 3),
        lambda: nn.MultiheadAttention(8, 2),
        lambda: nn.MultiheadAttention(8, 2, kdim=3, vdim=4, add_bias_kv=True),
        lambda: nn.MultiheadAttention(8, 2, bias=False),
    ],
)
def test_torchs_own_way_is_one_rule(make: Callable[[], nn.Module]) -> None:
    assert exported(make) == [{"type": "TorchDefault", "layer": type(make()).__name__}]


@pytest.mark.parametrize(
    "make", [lambda: nn.BatchNorm2d(3), lambda: nn.GroupNorm(1, 3), lambda: nn.LayerNorm(3)]
)
def test_norms_are_constants(make: Callable[[], nn.Module]) -> None:
    assert exported(make) == [{"type": "Constant", "layer": type(make()).__name__, "val": 1, "bias": 0}]


def test_padding_rows() -> None:
    rules = exported(lambda: nn.Sequential(nn.Embedding(5, 3, padding_idx=1), nn.Embedding(5, 3)))
    assert rules == [{"type": "Normal", "layer": "Embedding"}]


def test_classes_share_a_rule() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.out = nn.Linear(8, 2)

    rules = exported(Net)
    assert rules == [
        {"type": "TorchDefault", "layer": ["Conv2d", "Linear"]},
        {"type": "Constant", "layer": "BatchNorm2d", "val": 1, "bias": 0},
    ]


def test_what_a_shape_decides_is_said_as_what_decides_it() -> None:
    def make() -> nn.Module:
        net = nn.Sequential(*[nn.Conv2d(2**i, 2 ** (i + 1), 3, bias=False) for i in range(5)])
        for conv in net:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
        return net

    assert exported(make) == [
        {"type": "Kaiming", "layer": "Conv2d", "mode": "fan_out", "nonlinearity": "relu"}
    ]


def test_scaling_by_hand_is_recognized() -> None:
    def make() -> nn.Module:
        net = nn.Sequential(*[nn.Conv2d(2**i, 3**i, 3) for i in range(1, 5)])
        for conv in net:
            nn.init.normal_(conv.weight, 0, (2.0 / (9 * conv.out_channels)) ** 0.5)  # type: ignore[operator]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        return net

    (rule,) = exported(make)
    assert rule["layer"] == "Conv2d"
    assert rule["mode"] == "fan_out"
    assert rule["bias"] == 0


def test_bounds_in_sigmas() -> None:
    def make() -> nn.Module:
        net = nn.Linear(3, 3, bias=False)
        nn.init.trunc_normal_(net.weight, std=0.02, a=-0.04, b=0.04)
        return net

    assert exported(make) == [
        {"type": "TruncNormal", "layer": "Linear", "std": 0.02, "a_sigma": -2, "b_sigma": 2}
    ]


# -- exceptions ----------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.gamma = nn.Parameter(torch.full((8,), 1e-5))


class Vit(nn.Module):
    def __init__(self, depth: int = 12) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.pos_embed = nn.Parameter(torch.empty(1, 5, 8))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.head = nn.Linear(8, 10)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01 if name.endswith("proj") else 0.02)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.head.bias, -4.5)


def test_exceptions_by_pattern() -> None:
    assert exported(Vit) == [
        {"type": "Normal", "layer": "Linear", "std": 0.02, "bias": 0},
        {"type": "Constant", "layer": "LayerNorm", "val": 1, "bias": 0},
        {"type": "Constant", "param": "*.gamma", "val": 1e-5},
        {"type": "Normal", "param": "*.proj.weight", "std": 0.01},
        {"type": "TruncNormal", "param": "pos_embed", "std": 0.02, "a": -2, "b": 2},
        {"type": "Constant", "param": "head.bias", "val": -4.5},
    ]


def test_parts_of_a_model_by_name() -> None:
    def make() -> nn.Module:
        net = nn.ModuleDict(
            {
                "backbone": nn.Sequential(*[nn.Conv2d(3, 3, 3) for _ in range(5)], nn.BatchNorm2d(3)),
                "head": nn.Sequential(nn.BatchNorm2d(3), *[nn.Conv2d(3, 3, 3) for _ in range(3)]),
            }
        )
        for conv in net["head"][1:]:  # type: ignore[index]
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, 0.5)
        return net

    assert exported(make) == [
        {"type": "TorchDefault", "layer": "Conv2d"},
        {"type": "Constant", "layer": "BatchNorm2d", "val": 1, "bias": 0},
        {"type": "Normal", "layer": "Conv2d", "name": "head", "std": 0.01, "bias": 0.5},
    ]


def test_one_rule_a_layer_where_each_has_its_own_number() -> None:
    def make() -> nn.Module:
        net = Vit(4)
        for place, block in enumerate(net.blocks):
            nn.init.normal_(block.proj.weight, std=0.02 / (2 * place + 2) ** 0.5)  # type: ignore[union-attr,arg-type]
        return net

    assert len(exported(make)) == 5 + 4


def test_odd_names() -> None:
    def make() -> nn.Module:
        net = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("a*", "a[0]", "ab", "a?", "weight")})
        nn.init.ones_(net["a*"].weight)  # type: ignore[arg-type]
        nn.init.ones_(net["a[0]"].bias)  # type: ignore[arg-type]
        return net

    rules = exported(make)
    assert rules[1:] == [{"type": "Constant", "param": ["a[*].weight", "a[[]0].bias"], "val": 1}]


# -- what cannot be said by an initializer -------------------------------------------------------


def test_copies() -> None:
    rules = exported(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32), 12, enable_nested_tensor=False)
    )
    assert len(rules) <= 7
    assert [rule["value"]["kind"] for rule in rules if rule["type"] == "Value"] == ["CopyOf"] * 4


def test_parts() -> None:
    def make() -> nn.Module:
        net = nn.MultiheadAttention(4, 2)
        nn.init.normal_(net.in_proj_weight[:4], std=0.5)
        return net

    rules = exported(make)
    (rule,) = [rule for rule in rules if rule["type"] == "Value"]
    assert rule["param"] == "in_proj_weight"
    assert rule["value"]["kind"] == "Parts"


def test_parts_that_a_rule_made() -> None:
    rule = dict(type="Xavier", layer=["MultiheadAttention", "LSTM"], distribution="uniform", bias=0.25)
    rules = exported(lambda: nn.Sequential(nn.MultiheadAttention(8, 2), nn.LSTM(4, 5)), rule)
    assert len(rules) == 1
    assert {**rules[0], "layer": set(rules[0]["layer"])} == {**rule, "layer": set(rule["layer"])}


def test_plain_normal_over_fused_matrices() -> None:
    def make() -> nn.Module:
        net = nn.MultiheadAttention(4, 2)
        nn.init.normal_(net.in_proj_weight, std=0.02)
        return net

    rules = exported(make)
    assert {"kind": "Normal", "mean": 0.0, "std": 0.02} in [rule.get("value") for rule in rules]


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


# -- errors --------------------------------------------------------------------------------------


def test_a_plan_of_another_model() -> None:
    plan = initcfg.plan(nn.Linear(2, 3), dict(type="Normal", layer="Linear"))
    for model in (nn.Linear(3, 3), nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3, bias=False)):
        with pytest.raises(errors.PlanError) as caught:
            init_cfg_of(plan, model)
        assert caught.value.parameter


def test_what_no_rule_can_give() -> None:
    class OneWay(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    model = nn.Sequential(nn.Linear(2, 2))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    nn.utils.parametrize.register_parametrization(model[0], "weight", OneWay(), unsafe=True)
    with pytest.raises(errors.PlanError, match="No rule can give") as caught:
        init_cfg_of(plan, model)
    assert caught.value.parameter == "0.weight"


# -- the initializers ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in LEAVES if name != "Bag"])
def test_torch_default_is_what_torch_does(name: str) -> None:
    plan = initcfg.plan(pending(LEAVES[name]))
    cls = type(LEAVES[name]()).__name__
    made = initcfg.plan(LEAVES[name](), dict(type="TorchDefault", layer=cls))
    assert {key: item.value for key, item in made.items()} == {key: item.value for key, item in plan.items()}


def test_torch_default_takes_a_bias() -> None:
    plan = initcfg.plan(nn.Linear(4, 2), dict(type="TorchDefault", layer="Linear", bias_prob=0.5))
    assert plan["weight"].value == initcfg.plan(pending(lambda: nn.Linear(4, 2)))["weight"].value
    assert plan["bias"].value == Constant(0.0)
    plan = initcfg.plan(nn.Linear(4, 2), dict(type="TorchDefault", layer="Linear", bias=None))
    assert plan["bias"].value.kind == "Keep"


def test_torch_default_of_single_tensors() -> None:
    plan = initcfg.plan(nn.Sequential(nn.Linear(4, 2)), dict(type="TorchDefault", param="*.bias"))
    assert plan["0.bias"].value == Uniform(-0.5, 0.5)
    buffers = initcfg.plan(nn.BatchNorm1d(2), dict(type="TorchDefault", buffer="running_*")).buffers
    assert {name: item.value for name, item in buffers.items()} == {
        "running_mean": Constant(0.0),
        "running_var": Constant(1.0),
    }


def test_torch_default_of_a_class_that_it_does_not_know() -> None:
    with pytest.raises(errors.TensorError, match="does not know what a Own does") as caught:
        initcfg.plan(nn.Sequential(Own(2, 2)), dict(type="TorchDefault", layer="Linear"))
    assert caught.value.parameter == "0.weight"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (3, "must be an object"),
        ({"kind": "Norml"}, "no kind of value"),
        ({"kind": "Normal", "mean": 0.0}, "these are given"),
        ({"kind": "Normal", "mean": "x", "std": 1}, "mean of Normal is 'x'"),
        ({"kind": "Parts", "dim": 0, "sizes": 3, "values": []}, "sizes of Parts"),
        ({"kind": "Keep"}, "nothing that a rule can write"),
        ({"kind": "CopyOf", "source": "a", "value": {"kind": "Keep"}}, "nothing that a rule can write"),
    ],
)
def test_a_value_that_is_none(value: Any, problem: str) -> None:
    with pytest.raises(errors.ArgumentError, match=problem):
        initcfg.plan(nn.Linear(2, 2), dict(type="Value", layer="Linear", value=value))


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "Parts", "dim": 0, "sizes": [1, 2], "values": [{"kind": "Constant", "val": 1}] * 2},
        {"kind": "Parts", "dim": 2, "sizes": [1, 2], "values": [{"kind": "Constant", "val": 1}] * 2},
        {"kind": "PaddingRow", "index": 4, "value": {"kind": "Constant", "val": 1}},
        {"kind": "Dirac", "groups": 1},
        {"kind": "CopyOf", "source": "x", "value": {"kind": "Dirac", "groups": 1}},
    ],
)
def test_a_value_that_does_not_fit(value: Any) -> None:
    with pytest.raises(errors.TensorError, match="cannot be made") as caught:
        initcfg.plan(nn.Linear(3, 4), dict(type="Value", param="weight", value=value))
    assert caught.value.shape == (4, 3)


def test_a_value_is_taken_as_it_is() -> None:
    copy = {"kind": "CopyOf", "source": "other", "value": {"kind": "Normal", "mean": 0, "std": 1}}
    plan = initcfg.plan(nn.Embedding(4, 2, padding_idx=0), dict(type="Value", layer="Embedding", value=copy))
    assert plan["weight"].value == CopyOf("other", Normal(0.0, 1.0))
    assert isinstance(plan["weight"].value.value.mean, float)  # type: ignore[attr-defined]
    halves = Parts(0, (1, 1), (Constant(1.0), Normal(0.0, 1.0)))
    assert (
        initcfg.plan(nn.Linear(3, 2), dict(type="Value", param="weight", value=halves))["weight"].value
        == halves
    )
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_an_edit_changes_what_it_says() -> None:
    rules = fine(exported(Vit))
    (rule,) = [rule for rule in rules if rule.get("layer") == "Linear"]
    rule["std"] = 0.5
    plan = alone(Vit(), rules)
    assert plan["blocks.0.qkv.weight"].value == Normal(0.0, 0.5)
    assert plan["blocks.0.proj.weight"].value == Normal(0.0, 0.01)


# -- random trees --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees(exact=False), deferred=st.booleans())
def test_random_trees(tree: Tree, deferred: bool) -> None:
    model = pending(lambda: build(tree, "initcfg")) if deferred else build(tree, "initcfg")
    try:
        plan = initcfg.plan(model, tree.outer)
    except errors.InitcfgError:
        return
    # The search alone finds rules that give the plan; the export raises if none do.
    view = view_of(plan, model)
    assert differing(view, plan_of_rules(view, searched(view))) == []
    rules = init_cfg_of(plan, model)
    assert json.loads(json.dumps(rules)) == rules
    assert len(rules) <= max(1, len(written(plan)))


def test_a_plan_is_exported_where_nothing_else_was_imported() -> None:
    code = (
        "import initcfg\n"
        "from torch import nn\n"
        "model = nn.Linear(2, 2)\n"
        "plan = initcfg.plan(model, dict(type='Normal', layer='Linear', std=1))\n"
        "print(plan.to_init_cfg(model)[0]['type'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Normal\n"
