"""μP and its relatives: the numbers of the papers, by two builds, and what needs the forward pass."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import initcfg
from initcfg._model import shapes_of
from initcfg.errors import ArgumentError, BuildError, InitcfgError, PlanError, RuleTypeError
from initcfg.values import Constant, Normal


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, width: int = 64, layers: int = 2, heads: int = 0, tied: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(50, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 50)
        if heads:
            self.attention = nn.MultiheadAttention(width, heads)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


ROLES = dict(residual_out=["blocks.*.down.weight"], blocks="blocks")


def net(width: int = 64, layers: int = 2) -> nn.Module:
    return Net(width, layers)


def on_meta(*args: int, **kwargs) -> Net:
    with torch.device("meta"):
        return Net(*args, **kwargs)


def planned(rule: dict, *args: int, **kwargs) -> initcfg.Plan:
    return initcfg.plan(on_meta(*args, **kwargs), rule)


def tuned(plan: initcfg.Plan, name: str) -> dict:
    return {key: item for key, item in plan[name].tune.items() if key != "optimizer"}


def test_mup_has_the_numbers_of_the_package() -> None:
    plan = planned(dict(type="MuP", base=on_meta(64), std=0.05), 256)
    assert plan["table.weight"].value == Normal(0.0, 0.05)
    assert plan["blocks.0.up.weight"].value == Normal(0.0, 0.025)
    assert plan["blocks.1.down.weight"].value == Normal(0.0, 0.025)
    assert plan["head.weight"].value == Normal(0.0, 0.0125)
    assert plan["blocks.0.up.bias"].value == Constant(0.0)
    assert tuned(plan, "table.weight") == {}
    assert tuned(plan, "blocks.0.up.weight") == {"lr": 0.25, "weight_decay": 4.0}
    assert tuned(plan, "head.weight") == {"lr": 0.25, "weight_decay": 4.0, "eps": 4.0}
    assert tuned(plan, "norm.weight") == {}
    assert plan["norm.weight"].rule is None
    assert plan["norm.weight"].tune["optimizer"] == "adamw"


def test_mup_for_sgd() -> None:
    plan = planned(dict(type="MuP", base=on_meta(64), std=0.05, optimizer="sgd"), 256)
    assert tuned(plan, "table.weight") == {"lr": 4.0, "weight_decay": 0.25}
    assert tuned(plan, "blocks.0.up.weight") == {"lr": 1.0, "weight_decay": 1.0}
    assert tuned(plan, "blocks.0.up.bias") == {"lr": 4.0, "weight_decay": 0.25}
    assert tuned(plan, "norm.weight") == {"lr": 4.0, "weight_decay": 0.25}
    assert tuned(plan, "head.weight") == {"lr": 0.25, "weight_decay": 4.0}
    assert tuned(plan, "head.bias") == {}


def test_a_zero_readout_keeps_its_multipliers() -> None:
    plan = planned(dict(type="MuP", base=on_meta(64), readout="zero"), 256)
    assert plan["head.weight"].value == Constant(0.0)
    assert plan["head.weight"].tune["lr"] == 0.25


def test_a_later_rule_changes_the_value_and_leaves_the_multipliers() -> None:
    rules = [dict(type="MuP", base=on_meta(64)), dict(type="Constant", param="head.weight", val=0)]
    assert planned(rules, 256)["head.weight"].tune["lr"] == 0.25
    rules.append(dict(param="head.weight", tune=dict(lr=3)))
    plan = planned(rules, 256)
    assert plan["head.weight"].value == Constant(0.0)
    assert dict(plan["head.weight"].tune) == {"lr": 3.0}


def test_at_the_base_all_multipliers_are_one() -> None:
    plan = planned(dict(type="MuP", base=on_meta(64), std=0.05), 64)
    for name, item in plan.items():
        assert all(number == 1.0 for number in tuned(plan, name).values())
        if item.value.kind == "Normal":
            assert item.value == Normal(0.0, 0.05)


def test_completep_folds_the_branches() -> None:
    rule = dict(type="CompleteP", base=on_meta(64, 2), std=0.05)
    plan = initcfg.plan(on_meta(256, 8), rule, roles=ROLES)
    assert plan["blocks.5.up.weight"].value.std == pytest.approx(0.025, rel=1e-15)
    assert plan["blocks.5.down.weight"].value.std == pytest.approx(0.05 * 0.5 * 0.25, rel=1e-15)
    assert tuned(plan, "blocks.5.up.weight") == {"lr": 0.25, "weight_decay": 4.0, "eps": 1 / 16}
    down = {"lr": 1 / 16, "weight_decay": 16.0, "eps": 0.25, "muon": 0.25}
    assert tuned(plan, "blocks.5.down.weight") == down
    assert tuned(plan, "table.weight") == {"eps": 1 / 16}
    assert tuned(plan, "head.weight") == {"lr": 0.25, "weight_decay": 4.0, "eps": 0.25}
    assert tuned(plan, "blocks.5.norm.weight") == {"lr": 1.0, "weight_decay": 0.0, "eps": 1 / 16}


def test_depth_mup_is_alpha_one_half() -> None:
    rule = dict(type="DepthMuP", base=on_meta(64, 4), std=0.02)
    plan = initcfg.plan(on_meta(64, 16), rule, roles=ROLES)
    assert plan["blocks.9.down.weight"].value.std == pytest.approx(0.02 * 0.5, rel=1e-15)
    assert plan["blocks.9.down.weight"].tune["lr"] == pytest.approx(0.25, rel=1e-15)
    assert plan["blocks.9.up.weight"].tune["lr"] == pytest.approx(0.5, rel=1e-15)


@pytest.mark.parametrize(("inputs", "outputs", "std"), [(64, 128, 0.125), (128, 64, 0.0625)])
def test_spectral(inputs: int, outputs: int, std: float) -> None:
    layer = nn.Linear(inputs, outputs)
    plan = initcfg.plan(layer, dict(type="Spectral"))
    assert plan["weight"].value.std == pytest.approx(std, rel=1e-15)
    assert plan["weight"].tune["lr"] == 1 / inputs
    assert (
        initcfg.plan(layer, dict(type="Spectral", optimizer="sgd"))["weight"].tune["lr"] == outputs / inputs
    )


def test_umup_needs_operations_that_scale() -> None:
    with pytest.raises(PlanError, match="each operation has to scale"):
        planned(dict(type="UMuP"))
    plan = planned(dict(type="UMuP", forward="done"), 64, 4)
    assert plan["blocks.0.up.weight"].value == Normal(0.0, 1.0)
    assert plan["blocks.0.up.weight"].tune["lr"] == pytest.approx(1 / math.sqrt(64) / 2)
    assert plan["table.weight"].tune["lr"] == pytest.approx(1 / 8)
    assert plan["head.weight"].tune["lr"] == 1.0
    assert plan["blocks.0.up.bias"].tune["lr"] == plan["blocks.3.norm.weight"].tune["lr"] == 0.5
    assert plan["norm.weight"].tune["lr"] == plan["head.bias"].tune["lr"] == 1.0
    assert plan["norm.weight"].rule is None


def test_a_tied_head_needs_the_forward_pass() -> None:
    rule = dict(type="MuP", base=on_meta(64, tied=True), std=0.05)
    with pytest.raises(PlanError, match="one tensor") as caught:
        planned(rule, 256, tied=True)
    assert "Untie" in str(caught.value)
    plan = planned({**rule, "forward": "done"}, 256, tied=True)
    assert plan["head.weight"].value == Normal(0.0, 0.05)
    assert tuned(plan, "head.weight") == {}


def test_growing_heads_need_the_forward_pass() -> None:
    rule = dict(type="MuP", base=on_meta(64, heads=4))
    with pytest.raises(PlanError, match="heads of attention have size 64, and 16 in the base"):
        planned(rule, 256, heads=4)
    assert planned(rule, 256, heads=16)["attention.in_proj_weight"].tune["lr"] == 0.25
    assert planned({**rule, "forward": "done"}, 256, heads=4)["attention.in_proj_weight"].tune["lr"] == 0.25


def test_each_form_of_a_base_gives_the_same_plan(tmp_path: Path) -> None:
    file = tmp_path / "shapes.json"
    file.write_text(json.dumps(shapes_of(on_meta(64)).to_json()))
    own = f"{__name__}:net"
    built = initcfg.build(dict(type=own, width=256), init=False)
    bases = [
        dict(base=on_meta(64)),
        dict(base=str(file)),
        dict(base=own, base_args=dict(width=64)),
        dict(base=dict(width=64)),
    ]
    plans = [initcfg.plan(built, dict(type="MuP", **base)) for base in bases]
    assert len({each.digest for each in plans}) == 1
    assert plans[0]["head.weight"].tune["lr"] == 0.25


def test_what_is_no_base() -> None:
    with pytest.raises(ArgumentError, match="needs a base"):
        planned(dict(type="MuP"))
    with pytest.raises(RuleTypeError, match="takes no base 3"):
        planned(dict(type="MuP", base=3))
    with pytest.raises(ArgumentError, match="base_args"):
        planned(dict(type="MuP", base=dict(width=3), base_args=dict(width=3)))
    with pytest.raises(BuildError, match="was built by other code"):
        planned(dict(type="MuP", base=dict(width=3)))
    with pytest.raises(PlanError, match="cannot be read"):
        planned(dict(type="MuP", base="nowhere.json"))
    with pytest.raises(BuildError, match="may return anything"):
        planned(dict(type="MuP", base="os:system", base_args=dict(command="false")))
    with pytest.raises(BuildError, match="no builder"):
        planned(dict(type="MuP", base="Net"))
    with pytest.raises(PlanError, match="no parameter of this name"):
        planned(dict(type="MuP", base=nn.Linear(2, 2)))
    with pytest.raises(ArgumentError, match="adamw"):
        planned(dict(type="MuP", base=on_meta(64), optimizer="lion"))


@pytest.mark.parametrize(
    "base", [dict(type="os:system"), {"inner.type": "os.system"}, dict(inner=[dict(type="x")])]
)
def test_a_base_changes_no_type(base: dict) -> None:
    built = initcfg.build(dict(type=f"{__name__}:net", width=128), init=False)
    with pytest.raises(BuildError, match="base changes arguments"):
        initcfg.plan(built, dict(type="MuP", base=base))


def test_a_rule_of_multipliers_alone() -> None:
    plan = initcfg.plan(nn.Linear(8, 2), dict(param="weight", tune=dict(lr="1/fan_out", optimizer="sgd")))
    assert dict(plan["weight"].tune) == {"lr": 0.5, "optimizer": "sgd"}
    assert plan["weight"].rule is None
    assert not plan.unused
    read = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert read["weight"].tune == plan["weight"].tune
    with pytest.raises(InitcfgError, match="optimizer is one of"):
        initcfg.plan(nn.Linear(8, 2), dict(layer="Linear", tune=dict(optimizer="lion")))


@pytest.mark.parametrize(
    "base",
    [dict(width="64"), dict(inner=dict(width=64)), dict(width=2**30), "net:Net", "/etc/shapes.json"],
)
def test_a_stranger_may_change_numbers_of_the_base_alone(base: object) -> None:
    rule = dict(type="MuP", base=base)
    config = dict(type="Linear", in_features=8, out_features=8, init_cfg=rule)
    with pytest.raises(initcfg.errors.UntrustedError):
        initcfg.build(config, untrusted=True, init=False)
    config["init_cfg"] = dict(type="MuP", base=dict(in_features=4, out_features=4))
    model = initcfg.build(config, untrusted=True, init=False)
    assert initcfg.plan(model)["weight"].tune["lr"] == 0.5


class Plain(nn.Module):
    """Residual layers with no modules of their own."""

    def __init__(self, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.inp = nn.Linear(8, width)
        self.hid = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.out = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inp(x)
        for layer in self.hid:
            x = x + torch.relu(layer(x))
        return self.out(x)


def plain(scheme: str, width: int, layers: int, base: tuple[int, int] = (32, 2)) -> initcfg.Plan:
    with torch.device("meta"):
        rule = dict(type=scheme, base=Plain(*base), std=0.1)
        model = Plain(width, layers)
    return initcfg.plan(model, rule, example=(torch.zeros(2, 8),))


@pytest.mark.parametrize(
    ("scheme", "width", "std", "rate", "of_bias"),
    [
        ("CompleteP", 128, 0.1 * 0.5 / 4, 1 / 16, 1 / 4),
        ("CompleteP", 32, 0.1 / 4, 1 / 4, 1 / 4),
        ("DepthMuP", 128, 0.1 * 0.5 / 2, 1 / 16, 1 / 4),
    ],
)
def test_a_list_of_bare_layers_that_grows_is_the_depth(
    scheme: str, width: int, std: float, rate: float, of_bias: float
) -> None:
    plan = plain(scheme, width, 8)
    for layer in (0, 5):
        assert plan[f"hid.{layer}.weight"].value.std == pytest.approx(std, rel=1e-15)
        assert plan[f"hid.{layer}.weight"].tune["lr"] == pytest.approx(rate, rel=1e-15)
        assert plan[f"hid.{layer}.bias"].tune["lr"] == pytest.approx(of_bias, rel=1e-15)
    assert plan["out.weight"].tune["lr"] == 32 / width


def test_the_same_parameters_are_the_same_depth() -> None:
    plan = plain("CompleteP", 128, 8, base=(32, 8))
    assert (plan["hid.5.weight"].value.std, plan["hid.5.weight"].tune["lr"]) == (0.05, 0.25)


def test_an_unknown_depth_is_no_depth_of_one() -> None:
    with pytest.raises(PlanError, match="finds none here and 2 there") as caught:
        plain("CompleteP", 128, 0)
    assert "nn.ModuleList" in str(caught.value.fix)


def test_a_base_with_a_misspelled_argument_says_which_was_meant() -> None:
    model = initcfg.build(dict(type=f"{__name__}:Net", width=128), init=False)
    with pytest.raises(BuildError, match="takes no argument 'widht'") as caught:
        initcfg.plan(model, dict(type="MuP", base=dict(widht=32)))
    assert caught.value.meant == ("width",)


class OwnAttention(nn.Module):
    """Heads under a name of its own, and queries, keys and values from one layer."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.parts_of_mind = count
        self.mix, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.mix(x).chunk(3, -1)
        q, k, v = (each.unflatten(-1, (self.parts_of_mind, -1)).transpose(1, 2) for each in parts)
        scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        return x + self.back((scores @ v).transpose(1, 2).flatten(2))


class OwnTransformer(nn.Module):
    def __init__(self, width: int = 32, count: int = 2) -> None:
        super().__init__()
        self.table, self.mind = nn.Embedding(50, width), OwnAttention(width, count)
        self.head = nn.Linear(width, 50)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.mind(self.table(tokens)))


TOKENS = torch.zeros(2, 8, dtype=torch.long)


@pytest.mark.parametrize("scheme", ["MuP", "CompleteP", "DepthMuP"])
def test_grown_heads_are_seen_whatever_they_are_called(scheme: str) -> None:
    rule = dict(type=scheme, base=OwnTransformer(32, 2))
    with pytest.raises(PlanError, match=r"the heads of mind\.mix have size 64, and 16 in the base"):
        initcfg.plan(OwnTransformer(128, 2), rule, example=(TOKENS,))
    assert initcfg.plan(OwnTransformer(128, 2), {**rule, "forward": "done"}, example=(TOKENS,))


def test_heads_of_the_same_size_are_no_error() -> None:
    rule = dict(type="MuP", base=OwnTransformer(32, 2), std=0.05)
    plan = initcfg.plan(OwnTransformer(128, 8), rule, example=(TOKENS,))
    assert plan["mind.mix.weight"].value == Normal(0.0, 0.025)


def test_a_file_of_shapes_keeps_the_heads_that_were_seen(tmp_path: Path) -> None:
    file = tmp_path / "shapes.json"
    file.write_text(json.dumps(shapes_of(OwnTransformer(32, 2), (TOKENS,)).to_json()))
    with pytest.raises(PlanError, match="have size 64, and 16 in the base"):
        initcfg.plan(OwnTransformer(128, 2), dict(type="MuP", base=str(file)), example=(TOKENS,))
