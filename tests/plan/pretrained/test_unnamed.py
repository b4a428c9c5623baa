"""Averages without names: by the order of the parameters, if all shapes agree, and told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import CheckpointError


def net(*, frozen: bool = False) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 3))
    if frozen:
        model[0].requires_grad_(False)
    return model


def averages(model: nn.Module) -> dict:
    """As torch_ema's ``state_dict()`` gives them."""
    shadow = [torch.randn_like(each) for each in model.parameters() if each.requires_grad]
    return {"decay": 0.99, "num_updates": 7, "shadow_params": shadow, "collected_params": None}


def rule(path, **options):
    return dict(type="Pretrained", checkpoint=str(path), **options)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_by_the_order_of_the_parameters(tmp_path, frozen, beside):
    model = net(frozen=frozen)
    ema = averages(model)
    torch.save({"model": model.state_dict(), "ema": ema, "step": 3} if beside else ema, tmp_path / "a.pth")
    plan = initcfg.plan(model, rule(tmp_path / "a.pth", **(dict(part="ema") if beside else {})))
    plan.apply(model, seed=0)
    trained = [each for each in model.parameters() if each.requires_grad]
    assert all(torch.equal(*pair) for pair in zip(trained, ema["shadow_params"], strict=True))
    load = plan.loads[0]
    assert load.renamed[-1] == (f"shadow_params.{len(trained) - 1}", "2.bias")
    assert load.wrapping == (("ema",) if beside else ()) + ("shadow_params",)
    assert load.remarks == (f"{len(trained)} tensors without names, taken in the order of the parameters",)
    assert load.remarks[0] in str(plan)
    assert initcfg.Plan.from_json(plan.to_json()).loads[0].remarks == load.remarks


def test_the_ordinary_weights_come_first(tmp_path):
    model = net()
    state = {key: torch.ones_like(each) for key, each in model.state_dict().items()}
    torch.save({"model": state, "ema": averages(model)}, tmp_path / "a.pth")
    initcfg.init_weights(model, rule(tmp_path / "a.pth"))
    assert torch.equal(model[2].weight, torch.ones(3, 2))


def test_a_tied_parameter_is_there_once(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    ema = averages(model)
    torch.save(ema, tmp_path / "a.pth")
    initcfg.init_weights(model, rule(tmp_path / "a.pth"))
    assert torch.equal(model[1].weight, ema["shadow_params"][0])
    assert torch.equal(model[1].bias, ema["shadow_params"][2])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda found: found.pop(), "has 5 tensors without names, and the module 6 parameters"),
        (lambda found: found.reverse(), r"number 0 is \(3,\) there and \(2, 1, 1, 1\) here"),
    ],
)
def test_other_numbers_or_shapes_are_an_error(tmp_path, change, problem):
    model = net()
    ema = averages(model)
    change(ema["shadow_params"])
    torch.save(ema, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=problem):
        initcfg.plan(model, rule(tmp_path / "a.pth"))


def test_there_is_nothing_to_rename(tmp_path):
    torch.save(averages(net()), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="have no names, which prefix or rename"):
        initcfg.plan(net(), rule(tmp_path / "a.pth", prefix="net."))


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema_state_dict", "ema", "ema_model"])
@pytest.mark.parametrize("inside", ["plain", "averaged by torch", "averaged by MMEngine"])
def test_averages_with_names(tmp_path, key, inside):
    model = net()
    state = {name: torch.full_like(each, 3) for name, each in model.state_dict().items()}
    if inside != "plain":
        counter = "n_averaged" if inside == "averaged by torch" else "steps"
        state = {counter: torch.tensor(3)} | {f"module.{name}": each for name, each in state.items()}
    torch.save({"state_dict": model.state_dict(), key: state}, tmp_path / "a.pth")
    plan = initcfg.plan(model, rule(tmp_path / "a.pth", part=key))
    plan.apply(model, seed=0)
    assert plan.loads[0].missing == ()
    assert model[2].weight.tolist() == [[3.0, 3.0]] * 3
