"""Export: the rules that a plan becomes give that plan again, and are few."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from exports import Vit, alone, exported, pending, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from trees import Tree, build, trees

import initcfg
from initcfg import errors
from initcfg._plan.export import init_cfg_of
from initcfg._plan.export.cells import view_of
from initcfg._plan.export.search import differing, plan_of_rules, searched
from initcfg.values import Normal


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


# -- edits ---------------------------------------------------------------------------------------


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
