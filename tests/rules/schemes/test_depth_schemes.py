"""CompleteP's factor of residual branches, folded, trains as a model that multiplies its branches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import initcfg
from initcfg._model import Shapes, shapes_of
from initcfg.errors import PlanError
from initcfg.values import Constant, Normal


class OnePlus(nn.Module):
    """A norm that multiplies by 1 + w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, x.shape[-1:], eps=1e-6) * (1 + self.weight)


class Block(nn.Module):
    def __init__(self, width: int, last: type[nn.Module], factor: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.last = last(width) if last is not nn.Identity else nn.Identity()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.factor * self.last(self.down(functional.gelu(self.up(self.norm(x)))))


class Net(nn.Module):
    def __init__(
        self,
        width: int,
        layers: int,
        last: type[nn.Module] = nn.Identity,
        branch: float = 1.0,
        logits: float = 1.0,
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(30, width)
        self.blocks = nn.ModuleList(Block(width, last, branch) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 30, bias=False)
        self.logits = logits

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = block(x)
        return self.logits * self.head(self.norm(x))


TOKENS = torch.arange(60).view(5, 12) * 7 % 30
LASTS = [nn.Identity, nn.LayerNorm, nn.RMSNorm, OnePlus]


def planned(last: type[nn.Module], layers: int = 6, **arguments: float) -> tuple[nn.Module, initcfg.Plan]:
    model = Net(32, layers, last).double()
    rule = dict(type="CompleteP", base=Net(8, 2, last), std=0.3, **arguments)
    return model, initcfg.plan(model, rule, example=(TOKENS,))


def reference_groups(model: nn.Module, alpha: float, lr: float, decay: float, eps: float) -> list[dict]:
    """As nanoGPT-mup has them: m = 4, M = 3, one eps for all, no decay of vectors."""
    m, deep, groups = 4, 3, []
    for name, each in model.named_parameters():
        matrix = each.dim() == 2
        rate, kept = 1.0, decay if matrix else 0.0
        if name.startswith("blocks"):
            rate = deep ** (alpha - 1) / (m if matrix else 1)
            kept = decay * m if matrix else 0.0
        groups.append(dict(params=[each], lr=lr * rate, weight_decay=kept, eps=eps / m * deep**-alpha))
    return groups


@pytest.mark.parametrize(("last", "alpha"), [*((each, 1.0) for each in LASTS), (nn.Identity, 0.5)])
def test_it_trains_as_a_model_that_multiplies_its_branches(last: type[nn.Module], alpha: float) -> None:
    ours, plan = planned(last, alpha=alpha)
    plan.apply(ours, seed=0)
    factor, m = 3**-alpha, 4
    theirs = copy.deepcopy(ours)
    theirs.logits = 1 / m
    undone = {"head.weight": 1 / m}
    for at, block in enumerate(theirs.blocks):
        block.factor = factor
        ends = ("down.weight", "down.bias") if last is nn.Identity else ("last.weight", "last.bias")
        undone |= {f"blocks.{at}.{name}": factor for name in ends}
    with torch.no_grad():
        for name, each in theirs.named_parameters():
            if last is OnePlus and name.endswith("last.weight"):
                assert torch.allclose(each, torch.full_like(each, factor - 1))
                each.zero_()
            else:
                each.div_(undone.get(name, 1.0))
    lr, decay, eps = 1e-2, 0.1, 1e-3
    groups = initcfg.param_groups(ours, plan, lr=lr, weight_decay=decay, eps=eps)
    for group in groups:
        if group["names"] == ["table.weight"]:
            # Of the embedding nanoGPT's eps has 1/m of the width of the stream as well.
            assert group["eps"] == pytest.approx(eps / m * factor)
    reference = reference_groups(theirs, alpha, lr, decay, eps)
    head = next(each for each in reference if each["params"][0] is theirs.head.weight)
    head["eps"] = eps * factor / m
    losses: list[list[float]] = []
    for model, stepping in ((theirs, torch.optim.AdamW(reference)), (ours, torch.optim.AdamW(groups))):
        losses.append([])
        for _ in range(50):
            scores = model(TOKENS)
            loss = functional.cross_entropy(scores[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
            losses[-1].append(loss.item())
            stepping.zero_grad()
            loss.backward()
            stepping.step()
    assert losses[0][-1] < losses[0][0] - 0.5
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-11


@pytest.mark.parametrize(("alpha", "hidden", "end"), [(1.0, 1.0, 1 / 3), (0.5, 3**-0.5, 1 / 3)])
def test_muon_has_the_factors_of_the_depth_alone(alpha: float, hidden: float, end: float) -> None:
    model, plan = planned(nn.Identity, alpha=alpha)
    groups = initcfg.param_groups(model, plan, lr=0.1, weight_decay=0.5, optimizer="muon")
    found = {name: group for group in groups for name in group["names"]}
    for name, factor in (("blocks.4.up.weight", hidden), ("blocks.4.down.weight", end)):
        assert found[name]["use_muon"]
        assert found[name]["lr"] == pytest.approx(0.1 * factor)
        assert found[name]["weight_decay"] == pytest.approx(0.5 / factor)
    assert not found["head.weight"]["use_muon"]
    assert found["head.weight"]["lr"] == pytest.approx(0.1 / 4)


def test_a_folded_factor_trains_as_one_in_forward_with_muon() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    ours, plan = planned(nn.Identity)
    plan.apply(ours, seed=0)
    theirs = copy.deepcopy(ours)
    losses: list[list[float]] = []
    for model in (theirs, ours):
        by_name = dict(model.named_parameters())
        rates = {"blocks.{}.down.weight": 0.1 / 3, "blocks.{}.up.weight": 0.1}
        decays = {"blocks.{}.down.weight": 0.05 * 3, "blocks.{}.up.weight": 0.05}
        if model is ours:
            made = initcfg.param_groups(model, plan, lr=0.1, weight_decay=0.05, optimizer="muon")
            groups = [
                dict(params=g["params"], lr=g["lr"], weight_decay=g["weight_decay"])
                for g in made
                if g["use_muon"]
            ]
        else:
            for block in model.blocks:
                block.factor = 1 / 3
                with torch.no_grad():
                    block.down.weight.mul_(3)
                    block.down.bias.mul_(3)
            groups = [
                dict(
                    params=[by_name[name.format(at)]],
                    lr=rate * (3 if "down" in name else 1),
                    weight_decay=decays[name] / (3 if "down" in name else 1),
                )
                for name, rate in rates.items()
                for at in range(6)
            ]
        stepping = torch.optim.Muon(groups)
        losses.append([])
        for _ in range(10):
            scores = model(TOKENS)
            loss = functional.cross_entropy(scores[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
            losses[-1].append(loss.item())
            stepping.zero_grad()
            loss.backward()
            stepping.step()
    assert losses[0][-1] != losses[0][0]
    # Muon orthogonalizes in bfloat16, of a gradient that the factor has changed.
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 0.02


def test_biases_at_the_ends_have_the_factor() -> None:
    _, plan = planned(nn.Identity)
    assert plan["blocks.4.down.bias"].value == Constant(0.0)
    tune = plan["blocks.4.down.bias"].tune
    assert tune["lr"] == pytest.approx(1 / 3)
    assert tune["eps"] == pytest.approx(1 / 4)
    assert tune["weight_decay"] == 0.0
    assert plan["blocks.4.up.bias"].tune["lr"] == 1.0
    assert plan["blocks.4.up.bias"].tune["eps"] == pytest.approx(1 / 12)


@pytest.mark.parametrize(("last", "gain"), [(nn.LayerNorm, 1 / 3), (OnePlus, -2 / 3)])
def test_a_norm_at_the_end_of_a_branch_has_its_factor(last: type[nn.Module], gain: float) -> None:
    _, plan = planned(last)
    assert plan["blocks.4.last.weight"].value.args["val"] == pytest.approx(gain)
    assert plan["blocks.4.last.weight"].tune["lr"] == pytest.approx(1 / 3)
    assert plan["blocks.4.down.weight"].value == Normal(0.0, 0.15)
    assert plan["blocks.4.down.weight"].tune["lr"] == 0.25


def built(layers: int = 6) -> nn.Module:
    return Net(32, layers, OnePlus)


def test_a_last_norm_is_tried_before_its_weights_are_written() -> None:
    model = initcfg.build(dict(type=f"{__name__}:built", layers=6), init=False)
    plan = initcfg.plan(model, dict(type="CompleteP", base=dict(layers=2)), example=(TOKENS,))
    assert plan["blocks.4.last.weight"].value.args["val"] == pytest.approx(-2 / 3)


def test_at_the_depth_of_the_base_a_last_norm_keeps_its_value() -> None:
    _, plan = planned(OnePlus, layers=2)
    assert plan["blocks.1.last.weight"].rule is None or plan["blocks.1.last.weight"].value == Constant(0.0)


class Odd(nn.Module):
    """A norm that is called with more than a tensor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 3:
            raise ValueError("three axes")
        return functional.rms_norm(x, x.shape[-1:]) * self.weight


def test_a_last_norm_that_is_not_known_is_refused() -> None:
    with pytest.raises(PlanError, match=r"multiplies by its weight w, or by 1 \+ w") as caught:
        planned(Odd)
    assert caught.value.parameter == "blocks.0.last.weight"


class Looped(nn.Module):
    """As ALBERT, or a universal transformer: one block that runs several times."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.table = nn.Embedding(30, width)
        self.blocks = nn.ModuleList([Block(width, nn.Identity, 1.0)])
        self.head, self.layers = nn.Linear(width, 30, bias=False), layers

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        for _ in range(self.layers):
            x = self.blocks[0](x)
        return self.head(x)


@pytest.mark.parametrize(("scheme", "factor"), [("CompleteP", 1 / 3), ("DepthMuP", 3**-0.5)])
def test_a_block_that_is_used_again_counts_again(scheme: str, factor: float) -> None:
    with torch.device("meta"):
        base = Looped(16, 2)
    example = (torch.zeros(2, 5, dtype=torch.long),)
    plan = initcfg.plan(Looped(16, 6), dict(type=scheme, base=base, std=0.05), example=example)
    down = plan["blocks.0.down.weight"]
    assert down.value == Normal(0.0, pytest.approx(0.05 * factor))
    same = initcfg.plan(Looped(16, 2), dict(type=scheme, base=base, std=0.05), example=example)
    assert same["blocks.0.down.weight"].value == Normal(0.0, 0.05)


def test_how_often_blocks_run_is_remembered_with_the_shapes() -> None:
    found = shapes_of(Looped(16, 6), (torch.zeros(2, 5, dtype=torch.long),), runs=True)
    assert (found.runs, found.layers) == (6, 1)
    assert Shapes.from_json(found.to_json()) == found
    with pytest.raises(PlanError, match="'runs' must be a whole number"):
        Shapes.from_json(found.to_json() | {"runs": -1})
