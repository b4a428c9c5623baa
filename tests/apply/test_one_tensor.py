"""One tensor of a plan or a ledger, without its model; and all of them, by init --plan and --ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._api.command.cli import main
from initcfg._apply import stand_in_model


def network() -> nn.Module:
    model = nn.Sequential(
        nn.Embedding(10, 4, padding_idx=1), nn.MultiheadAttention(4, 2), nn.Conv2d(4, 8, 3, groups=2)
    )
    model.out = nn.Linear(4, 10, bias=False)
    model.out.weight = model[0].weight
    model.register_buffer("table", torch.zeros(3))
    return model.bfloat16()


RULES = [
    dict(type="Normal", layer="Embedding", std=0.5),
    dict(type="Xavier", layer="MultiheadAttention"),
    dict(type="Orthogonal", layer="Conv2d", bias=0.25),
    dict(type="Constant", buffer="table", val=3),
]


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == code, done.output
    return done.output


def test_bit_for_bit_what_applying_writes() -> None:
    model = network()
    plan = initcfg.plan(model, RULES)
    ledger = plan.apply(model, seed=11)
    state = model.state_dict()
    assert len(state) == 9
    for name, tensor in state.items():
        for made in (plan.tensor(name, seed=11), ledger.tensor(name)):
            assert made.dtype == tensor.dtype
            assert torch.equal(made, tensor), name
    again = initcfg.Plan.from_json(plan.to_json())
    assert torch.equal(again.tensor("out.weight", seed=11), state["0.weight"])
    assert not torch.equal(plan.tensor("0.weight", seed=12), state["0.weight"])


def test_a_block_alone() -> None:
    model = network()
    plan = initcfg.plan(model, RULES)
    plan.apply(model, seed=11)
    for name in ("0.weight", "1.in_proj_weight", "2.weight"):
        whole = model.state_dict()[name]
        block = (slice(1, 3), slice(0, 2))
        assert torch.equal(plan.tensor(name, seed=11, block=block), whole[block]), name
        assert torch.equal(plan.tensor(name, seed=11, block=(slice(-2, None),)), whole[-2:]), name
    assert plan.tensor("0.weight", seed=1, block=(slice(3, 3),)).shape == (0, 4)
    for wrong in ((slice(0, 4, 2),), (0,), (slice(None),) * 3):
        with pytest.raises(errors.ArgumentValueError, match="no block"):
            plan.tensor("0.weight", seed=1, block=wrong)


def test_what_cannot_be_made() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    with pytest.raises(errors.PlanError, match="no seed"):
        plan.tensor("0.weight")
    assert plan.tensor("0.bias").tolist() == [0.0, 0.0]
    with pytest.raises(errors.PlanError, match=r"There is no tensor '0\.wieght'") as wrong:
        plan.tensor("0.wieght", seed=0)
    assert "0.weight" in wrong.value.meant
    with pytest.raises(errors.PlanError, match="kept as it was built") as kept:
        plan.tensor("1.weight", seed=0)
    assert "take it from there" in str(kept.value)
    drawn = plan.apply(model, rng="torch")
    with pytest.raises(errors.PlanError, match="torch's generator"):
        drawn.tensor("0.weight")


def test_what_was_loaded_is_read_again(tmp_path) -> None:
    model = nn.Linear(3, 3)
    file = tmp_path / "b.safetensors"
    save_file(nn.Linear(3, 3).state_dict(), file)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(file)))
    ledger = plan.apply(model, seed=0)
    assert torch.equal(plan.tensor("weight"), model.weight)
    assert torch.equal(ledger.tensor("weight", block=(slice(1, 2),)), model.weight[1:2])
    save_file(nn.Linear(3, 3).state_dict(), file)
    with pytest.raises(errors.PlanError, match="has changed since"):
        ledger.tensor("weight")
    file.unlink()
    with pytest.raises(errors.PlanError, match="not there any more"):
        ledger.tensor("weight")


def test_init_from_a_plan_or_a_ledger(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = network()
    plan = initcfg.plan(model, RULES)
    ledger = plan.apply(model, seed=5)
    Path("p.json").write_text(json.dumps(plan.to_json()))
    ledger.save("l.json")
    expected = {key: each for key, each in model.state_dict().items() if key != "out.weight"}
    for words in (("--plan", "p.json", "--seed", "5"), ("--ledger", "l.json")):
        for output in ("w.safetensors", "folder"):
            run("init", *words, "-o", output, *(("--overwrite",) if output == "folder" else ()))
            found = load_file(output if output != "folder" else "folder/model.safetensors")
            assert found.keys() == expected.keys(), (words, output)
            assert all(torch.equal(found[key], each) for key, each in expected.items())
            assert run("verify", output, "--plan", "l.json")
    assert "seed 5" in run("init", "--ledger", "w.safetensors", "-o", "again.pth")
    for words, message in (
        ((), "Nothing says"),
        (("--plan", "p.json", "--ledger", "l.json"), "both say it"),
        (("--plan", "l.json"), "it is a ledger"),
        (("--ledger", "p.json"), "it is a plan"),
        (("--plan", "none.json"), "no file 'none.json'"),
        (("--plan", "p.json", "--set", "a=1"), "says everything"),
    ):
        assert message in run("init", *words, "-o", "x.pth", code=2)
    assert not Path("x.pth").exists()


def test_what_only_the_model_has_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = initcfg.plan(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), dict(type="Normal", layer="Linear"))
    Path("p.json").write_text(json.dumps(plan.to_json()))
    text = run("init", "--plan", "p.json", "-o", "x", code=2)
    assert "2 tensors cannot be made without the model: 1.weight (kept as its constructor leaves it)" in text
    assert not Path("x").exists()
    data = plan.to_json()
    data["parameters"] = {
        name: {**data["parameters"]["0.bias"], "shape": [2]} for name in ("a", "a.b", "training", "forward.x")
    }
    with pytest.raises(errors.PlanError, match=r"'a\.b' lies in a module of the name"):
        stand_in_model(initcfg.Plan.from_json(data), memory=False)
    del data["parameters"]["a"]
    names = [name for name, _ in stand_in_model(initcfg.Plan.from_json(data), memory=True).named_parameters()]
    assert sorted(names) == ["a.b", "forward.x", "training"]


def test_traced_assignments_have_layout_and_fans() -> None:
    plan = initcfg.trace(network)
    assert plan["2.weight"].layout.fans() == (18, 36)
    assert plan["2.weight"].layout.groups == 2
    assert plan["1.in_proj_weight"].layout.parts == (4, 4, 4)
    assert plan["0.weight"].layout.padding_index == 1
    assert "fan_in 18, fan_out 36" in plan.explain("2.weight")
    normed = initcfg.trace(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    assert normed["weight"].layout.fans() == (4, 2)
    transposed = initcfg.trace(lambda: nn.ConvTranspose2d(4, 8, 3))
    assert transposed["weight"].layout.fans() == (36, 72)
