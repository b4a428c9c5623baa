"""Weights made of another model's: of a larger, a shallower, a dense or a narrower one; and adapters."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from adapted import Holder, numbers, only_load
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

import initcfg
from initcfg import errors
from initcfg.values import Normal


def made(model: nn.Module, kind: str, state: Any, **arguments: Any) -> initcfg.Plan:
    """The plan of one rule, carried out; its JSON gives it back."""
    plan = initcfg.plan(model, dict(type=kind, checkpoint=state, **arguments))
    assert initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.unused == ()
    ledger = plan.apply(model, seed=3)
    assert initcfg.Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    name = next(name for name, item in plan.parameters.items() if item.rule is not None)
    assert f"initializer  {kind}(" in str(plan.explain(name))
    return plan


# -- a smaller model ------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self, width: int, depth: int, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.register_buffer("places", torch.arange(width))
        self.head = nn.Linear(width, classes)


def test_weight_selection():
    large, small = Small(8, 4).state_dict(), Small(5, 2)
    head = small.head.weight.detach().clone()
    plan = made(small, "WeightSelection", large)
    rows = torch.round(torch.linspace(0, 7, 5)).long()
    assert torch.equal(small.blocks[1].weight, large["blocks.1.weight"][rows][:, rows])
    assert torch.equal(small.stem.weight, large["stem.weight"][rows])
    assert torch.equal(small.head.weight, head)
    assert torch.equal(small.places, torch.arange(5))
    load = only_load(plan)
    assert load.excluded == ("places", "head.weight", "head.bias")
    assert load.warning is None


def test_the_head_is_said():
    large, small = Small(8, 2).state_dict(), Small(4, 2)
    made(small, "WeightSelection", large, head="stem")
    assert torch.equal(small.head.weight, large["head.weight"][:, ::2])


def test_a_head_that_is_not_there():
    with pytest.raises(errors.PatternError, match="head='heads' matches nothing"):
        initcfg.plan(
            Small(4, 2), dict(type="WeightSelection", checkpoint=Small(8, 2).state_dict(), head="heads")
        )


def test_a_larger_model_cannot_be_selected():
    with pytest.raises(errors.CheckpointError, match=r"no elements to choose for 'stem.weight'"):
        initcfg.plan(Small(9, 2), dict(type="WeightSelection", checkpoint=Small(8, 2).state_dict()))


# -- a deeper model -------------------------------------------------------------------------------


def numbered(count: int) -> dict[str, torch.Tensor]:
    return {f"layers.{n}.weight": torch.full((1, 1), float(n)) for n in range(count)} | {"out": torch.ones(2)}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [0, 1, 2, 1, 2, 3]),
        (dict(by="stack"), [0, 1, 2, 3, 0, 1]),
        (dict(by="interleave"), [0, 0, 1, 2, 2, 3]),
        (dict(layers=[3, 3, 0, 1, 2, 2]), [3, 3, 0, 1, 2, 2]),
        (dict(layers=[3, 1]), [3, 1]),
    ],
)
def test_layers_again(arguments, expected):
    layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in expected)
    model = Holder(layers=layers, out=(2,))
    plan = made(model, "DepthUp", numbered(4), **arguments)
    assert [layer.weight.item() for layer in layers] == expected
    assert only_load(plan).warning is None


def test_solar():
    layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(48))
    made(Holder(layers=layers, out=(2,)), "DepthUp", numbered(32))
    assert [int(layer.weight.item()) for layer in layers] == [*range(24), *range(8, 32)]


def test_lists_in_lists():
    def stage(depth: int) -> nn.ModuleDict:
        return nn.ModuleDict(dict(blocks=nn.ModuleList(nn.Linear(2, 2) for _ in range(depth))))

    shallow, deep = nn.ModuleList([stage(2), stage(1)]), nn.ModuleList([stage(2), stage(2)])
    made(deep, "DepthUp", shallow.state_dict())
    assert torch.equal(deep[0]["blocks"][1].weight, shallow[0]["blocks"][1].weight)
    assert torch.equal(deep[1]["blocks"][1].weight, shallow[1]["blocks"][0].weight)


@pytest.mark.parametrize(
    ("count", "arguments", "says"),
    [
        (5, {}, "not twice the same number"),
        (10, {}, "not twice the same number"),
        (4, {}, "No list of layers is longer"),
        (3, {}, "No list of layers is longer"),
        (6, dict(layers=[0, 1]), "gives 2 numbers"),
        (2, dict(layers=[0, 4]), "up to 4"),
    ],
)
def test_depths_that_cannot_be(count, arguments, says):
    model = Holder(layers=nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(count)), out=(2,))
    with pytest.raises(errors.CheckpointError, match=says):
        initcfg.plan(model, dict(type="DepthUp", checkpoint=numbered(4), **arguments))


@pytest.mark.parametrize("layers", [[], [-1], "01", [True], 3])
def test_layers_are_numbers(layers):
    with pytest.raises(errors.ArgumentError, match="layers is a list"):
        initcfg.plan(nn.Linear(1, 1), dict(type="DepthUp", checkpoint={}, layers=layers))


# -- experts --------------------------------------------------------------------------------------


class GatedMLP(nn.Module):
    def __init__(self, names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")) -> None:
        super().__init__()
        self.names = names
        for name, sizes in zip(names, [(4, 6), (4, 6), (6, 4)], strict=True):
            self.add_module(name, nn.Linear(*sizes, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up, down = (self.get_submodule(name) for name in self.names)
        return down(functional.silu(gate(x)) * up(x))


class StackedExperts(nn.Module):
    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned = turned
        self.gate_up_proj = nn.Parameter(torch.zeros(4, 4, 12) if turned else torch.zeros(4, 12, 4))
        self.down_proj = nn.Parameter(torch.zeros(4, 6, 4) if turned else torch.zeros(4, 4, 6))

    def __getitem__(self, number: int) -> Any:
        first, last = self.gate_up_proj[number], self.down_proj[number]
        first, last = (first.T, last.T) if self.turned else (first, last)

        def run(x: torch.Tensor) -> torch.Tensor:
            gate, up = (first @ x).chunk(2)
            return last @ (functional.silu(gate) * up)

        return run


class Mixture(nn.Module):
    def __init__(self, experts: nn.Module) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 4), experts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in x:
            weights, chosen = self.gate(row).softmax(-1).topk(2)
            outputs = [self.experts[number](row) for number in chosen.tolist()]
            rows.append(sum(w * out for w, out in zip(weights / weights.sum(), outputs, strict=True)))
        return torch.stack(rows)


class Block(nn.Module):
    def __init__(self, mlp: nn.Module, name: str = "mlp") -> None:
        super().__init__()
        self.norm, self.name = nn.LayerNorm(4), name
        self.add_module(name, mlp)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.get_submodule(self.name)(self.norm(x))


@pytest.mark.parametrize(
    ("experts", "name"),
    [
        (lambda: nn.ModuleList(GatedMLP() for _ in range(4)), "mlp"),
        (lambda: nn.ModuleList(GatedMLP(("w1", "w3", "w2")) for _ in range(4)), "block_sparse_moe"),
        (lambda: StackedExperts(False), "mlp"),
        (lambda: StackedExperts(True), "mlp"),
    ],
)
def test_upcycling_keeps_the_output(experts, name):
    torch.manual_seed(0)
    dense = nn.Sequential(*[Block(GatedMLP()) for _ in range(2)])
    mixture = nn.Sequential(*[Block(Mixture(experts()), name) for _ in range(2)])
    plan = made(mixture, "Upcycle", dense.state_dict())
    x = numbers(7, 4)
    assert (mixture(x) - dense(x)).abs().max() < 1e-6
    assert plan[f"1.{name}.gate.weight"].value == Normal(0.0, 0.02)
    assert not mixture[1].get_submodule(name).gate.bias.any()
    assert only_load(plan).warning is None


@pytest.mark.parametrize("turned", [False, True])
def test_square_matrices_lie_as_those_beside_them(turned):
    experts = nn.Module()
    experts.down_proj = nn.Parameter(torch.zeros(2, 4, 4))
    experts.gate_up_proj = nn.Parameter(torch.zeros(2, 4, 8) if turned else torch.zeros(2, 8, 4))
    state = {f"mlp.{name}_proj.weight": numbers(4, 4, seed=ord(name[0])) for name in ("gate", "up", "down")}
    made(Holder(mlp=Mixture(experts)), "Upcycle", state)
    for number in (0, 1):
        down, first = experts.down_proj[number], experts.gate_up_proj[number]
        assert torch.equal(down.T if turned else down, state["mlp.down_proj.weight"])
        assert torch.equal((first.T if turned else first)[:4], state["mlp.gate_proj.weight"])


def test_rows_in_turn_are_not_guessed():
    experts = StackedExperts(False)
    experts.is_concatenated = False
    with pytest.raises(errors.CheckpointError, match="No expert"):
        initcfg.plan(
            Holder(mlp=Mixture(experts)), dict(type="Upcycle", checkpoint=Holder(mlp=GatedMLP()).state_dict())
        )


def test_the_router_is_left_to_the_next_rule():
    dense = nn.Sequential(Block(GatedMLP()))
    mixture = nn.Sequential(Block(Mixture(StackedExperts(False))))
    rules = [dict(type="Normal", layer="Linear", std=0.5)]
    rules.append(dict(type="Upcycle", checkpoint=dense.state_dict(), std=None))
    plan = initcfg.plan(mixture, rules)
    assert plan["0.mlp.gate.weight"].value == Normal(0.0, 0.5)
    assert plan["0.mlp.experts.down_proj"].value.keys == ("0.mlp.down_proj.weight",)


def test_without_experts_there_is_nothing_to_upcycle():
    with pytest.raises(errors.CheckpointError, match="No expert of the module"):
        initcfg.plan(Block(GatedMLP()), dict(type="Upcycle", checkpoint=Block(GatedMLP()).state_dict()))


# -- a wider model --------------------------------------------------------------------------------


def convolutions(first: int, second: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, first, 3, padding=1),
        nn.BatchNorm2d(first),
        nn.PReLU(first),
        nn.Conv2d(first, first, 3, groups=first),
        nn.ConvTranspose2d(first, second, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * 49, 5),
    )


def perceptron(first: int, second: int) -> nn.Sequential:
    return nn.Sequential(
        *[nn.Linear(3, first), nn.Tanh(), nn.LayerNorm(first), nn.Linear(first, second), nn.GELU()],
        nn.Linear(second, 2),
    )


@pytest.mark.parametrize(
    ("build", "narrow", "wide", "shape"),
    [
        (convolutions, (4, 6), (7, 13), (2, 3, 8, 8)),
        (convolutions, (4, 6), (4, 7), (2, 3, 8, 8)),
        (perceptron, (4, 5), (12, 8), (6, 3)),
    ],
)
def test_a_wider_network_is_the_same_function(build, narrow, wide, shape):
    torch.manual_seed(0)
    before, after = build(*narrow).eval(), build(*wide).eval()
    for module in before.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            for tensor in module.state_dict().values():
                _ = tensor.is_floating_point() and tensor.uniform_(0.5, 2)
    made(after, "Net2Wider", before.state_dict())
    x = numbers(*shape)
    assert (after(x) - before(x)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (nn.LayerNorm(4), nn.LayerNorm(6), "become a multiple"),
        (nn.GroupNorm(2, 4), nn.GroupNorm(2, 8), "groups would mix"),
        (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(8, 8, 3, groups=2), "groups would mix"),
        (nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 5), "a kernel cannot grow"),
        (nn.Linear(4, 4), nn.Linear(4, 3), "not larger there"),
        (nn.Embedding(4, 4), nn.Embedding(5, 4), "words cannot be copied"),
        (nn.MultiheadAttention(4, 2), nn.MultiheadAttention(8, 2), "none of the layers"),
    ],
)
def test_what_would_be_another_function_is_an_error(before, after, says):
    with pytest.raises(errors.CheckpointError, match=says):
        initcfg.plan(after, dict(type="Net2Wider", checkpoint=before.state_dict()))


# -- adapters -------------------------------------------------------------------------------------


class LoraLinear(nn.Module):
    """Built as peft builds it."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, turned: bool = False) -> None:
        super().__init__()
        self.base_layer, self.fan_in_fan_out = layer, turned
        rows, columns = layer.weight.shape[::-1] if turned else layer.weight.shape
        self.lora_A = nn.ModuleDict(dict(default=nn.Linear(columns, rank, bias=False)))
        self.lora_B = nn.ModuleDict(dict(default=nn.Linear(rank, rows, bias=False)))
        self.r, self.scaling = dict(default=rank), dict(default=alpha / rank)


def adapted(base: nn.Module, turned: bool = False) -> nn.Module:
    """What get_peft_model makes of a model: its layers are the same objects."""
    for name, layer in list(base.named_children()):
        if isinstance(layer, nn.Linear):
            base.add_module(name, LoraLinear(layer, 3, 7.5, turned))
    return Holder(base_model=Holder(model=base))


def base_model() -> nn.Module:
    torch.manual_seed(0)
    return Holder(up=nn.Linear(8, 12), norm=nn.LayerNorm(12), down=nn.Linear(12, 5))


@pytest.mark.parametrize("kind", ["PiSSA", "OLoRA"])
@pytest.mark.parametrize("given", ["before", "after", "file", "module"])
def test_adapters_of_low_rank(kind, given, tmp_path):
    base = base_model()
    before = {key: item.clone() for key, item in base.state_dict().items()}
    save_file(before, tmp_path / "base.safetensors")
    # What is given in code lies where the adapted model has its weights.
    state = {"before": base.state_dict(), "file": str(tmp_path / "base.safetensors")}.get(given)
    model = adapted(base)
    plan = made(model, kind, base.state_dict() if given == "after" else base if given == "module" else state)
    for name in ("up", "down"):
        layer = base.get_submodule(name)
        change = 2.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        whole = layer.base_layer.weight + change
        torch.testing.assert_close(whole, before[f"{name}.weight"], atol=1e-5, rtol=0)
        assert change.abs().max() > 0.1
    step = "pissa" if kind == "PiSSA" else "olora"
    assert plan["base_model.model.up.lora_A.default.weight"].value.steps == ((step, "A", 3, 2.5),)
    assert torch.equal(base.norm.weight, before["norm.weight"])
    assert only_load(plan).warning is None


def test_weights_that_lie_on_their_side():
    base = base_model()
    before = base.up.weight.detach().clone()
    model = adapted(base, turned=True)
    made(model, "PiSSA", base.state_dict())
    layer = base.up
    change = 2.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(layer.base_layer.weight + change.T, before, atol=1e-5, rtol=0)


def test_adapters_that_are_not_there():
    with pytest.raises(errors.CheckpointError, match="has a LoRA adapter 'other'"):
        initcfg.plan(
            adapted(base_model()),
            dict(type="PiSSA", checkpoint=base_model().state_dict(), adapter="other"),
        )


# -- through the doors ----------------------------------------------------------------------------


def test_from_a_file_into_memory_that_is_not_there_yet_and_back_to_rules(tmp_path):
    shallow = nn.Sequential(*[nn.Linear(2, 2) for _ in range(2)])
    save_file(shallow.state_dict(), tmp_path / "shallow.safetensors")
    with torch.device("meta"):
        model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(3)])
    rule = dict(type="DepthUp", checkpoint=str(tmp_path / "shallow.safetensors"), by="stack")
    initcfg.materialize(model, rule)
    assert torch.equal(model[2].weight, shallow[0].weight)
    plan = initcfg.plan(model, rule)
    again = initcfg.plan(model, plan.to_init_cfg(model))
    assert {name: item.value for name, item in again.items()} == {
        name: item.value for name, item in plan.items()
    }


def test_a_rule_before_it_and_a_rule_after_it():
    state = {"0.weight": torch.ones(1, 1), "0.bias": torch.ones(1)}
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    rules = [dict(type="DepthUp", checkpoint=state), dict(type="Constant", layer="Linear", val=3)]
    initcfg.init_weights(model, rules)
    assert [layer.weight.item() for layer in model] == [1, 1]


def test_the_original_knows_none_of_them():
    with pytest.raises(
        errors.ArgumentError, match="type='DepthUp' is a type that the original does not know"
    ):
        initcfg.plan(nn.Linear(1, 1), dict(type="DepthUp", checkpoint={}), compat="mmengine")


@pytest.mark.parametrize("kind", ["DepthUp", "Upcycle"])
def test_keys_of_strangers_take_no_forever(kind):
    state = {"1." * 20_000 + f"{n}.weight": torch.ones(1) for n in range(20)}
    with pytest.raises(errors.CheckpointError):
        initcfg.plan(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), dict(type=kind, checkpoint=state))
