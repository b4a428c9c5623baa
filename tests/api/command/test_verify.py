"""A checkpoint beside its plan: what still holds its initial value, what changed, what is not finite."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg
from initcfg._api.command.cli import main

CONFIG = """
model = dict(
    type="torch.nn.TransformerEncoderLayer", d_model=16, nhead=2, dim_feedforward=32,
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CONFIG)
    assert run("init", "net.py", "-o", "w.safetensors", "--seed", "7").exit_code == 0
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, list(words))


def changed(change):
    """The file with a state_dict that was changed, the ledger beside it."""
    state = load_file("w.safetensors")
    change(state)
    torch.save(state, "t.pth")
    with open("w.ledger.json") as there, open("t.ledger.json", "w") as here:
        here.write(there.read())


def status(name, *words):
    done = run("verify", "t.pth", "--json", *words)
    assert done.exit_code == 1, done.output
    return {each["name"]: each for each in json.loads(done.stdout)["tensors"]}[name]


def test_a_fresh_file_is_as_initialized(folder):
    done = run("verify", "w.safetensors", "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["seed"] == 7
    assert data["counts"] == {"initial": 12}
    assert run("verify", "w.safetensors", "--config", "net.py", "--seed", "7").exit_code == 0


def test_another_seed_is_another_beginning(folder):
    data = json.loads(run("verify", "w.safetensors", "--seed", "8", "--json").stdout)
    drawn = [each for each in data["tensors"] if each["status"] == "changed"]
    # Two independent draws of one distribution are √2 of its norm apart.
    weights = [each["change"] for each in drawn if each["name"].endswith("weight")]
    assert weights == pytest.approx([math.sqrt(2)] * len(weights), rel=0.2)


def test_how_much_changed(folder):
    changed(lambda state: state["linear1.weight"].mul_(1.01))
    found = status("linear1.weight")
    assert found["status"] == "changed"
    assert found["change"] == pytest.approx(0.01, rel=1e-3)
    changed(lambda state: state["norm1.bias"].add_(1))
    found = status("norm1.bias")
    assert (found["change"], found["distance"]) == (None, 4.0)


def test_one_flipped_bit_is_found(folder):
    def flip(state):
        state["linear2.weight"].view(torch.int32)[3, 5] ^= 1

    changed(flip)
    assert status("linear2.weight")["status"] == "changed"
    assert status("linear1.weight")["status"] == "initial"


def test_what_is_not_finite_or_not_there(folder):
    def spoil(state):
        state["linear1.weight"][0, :2] = torch.nan
        state["linear2.weight"][1, 1] = -torch.inf
        del state["norm2.weight"]
        state["other"] = torch.zeros(2)
        state["norm1.weight"] = torch.ones(3)

    changed(spoil)
    assert status("linear1.weight")["nan"] == 2
    assert status("linear2.weight")["inf"] == 1
    assert status("norm2.weight")["status"] == "missing"
    assert status("other")["status"] == "unplanned"
    assert "planned [16], there [3]" in status("norm1.weight")["detail"]
    text = run("verify", "t.pth").output
    assert "2 NaN" in text and "1 infinite" in text and "2 with NaN or infinity" in text


def test_a_traced_plan_will_do(folder):
    build = lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))  # noqa: E731
    plan = initcfg.trace(build)
    (folder / "plan.json").write_text(json.dumps(plan.to_json()))
    model = build()
    plan.apply(model, seed=5)
    save_file(model.state_dict(), "b.safetensors")
    done = run("verify", "b.safetensors", "--plan", "plan.json", "--seed", "5", "--json")
    assert json.loads(done.stdout)["counts"] == {"initial": 7}, done.output


def test_what_cannot_be_verified(folder):
    changed(lambda state: None)
    for words, message in (
        (("t.pth", "--plan", "none.json"), "no file"),
        (("none.safetensors",), "none.safetensors"),
        (("t.pth", "--config", "net.py"), "no seed"),
        (("t.pth", "--config", "net.py", "--plan", "t.ledger.json"), "both"),
        (("net.py",), "is a config"),
    ):
        done = run("verify", *words)
        assert done.exit_code == 2, done.output
        assert message in done.stderr
    initcfg.plan(model := nn.Linear(2, 2)).apply(model, rng="torch").save("t.ledger.json")
    assert "torch's generator" in run("verify", "t.pth").stderr


@pytest.mark.parametrize("size", ["1GB", "20B"])
def test_a_flipped_byte_of_what_no_plan_can_say(tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(2, 3).state_dict(), "b.pth")
    rule = "{type: Pretrained, checkpoint: b.pth}"
    Path("a.yaml").write_text(f"model: {{type: Linear, in_features: 2, out_features: 3, init_cfg: {rule}}}\n")

    def call(*words):
        done = CliRunner().invoke(main, words)
        return done.exit_code, done.output

    assert call("init", "a.yaml", "-o", "out", "--shard-size", size, "--seed", "0")[0] == 0
    assert call("verify", "out")[0] == 0
    last = sorted(Path("out").glob("*.safetensors"))[-1]
    data = bytearray(last.read_bytes())
    data[-1] ^= 1
    last.write_bytes(data)
    code, said = call("verify", "out")
    assert code == 1
    assert f"{last.name} holds other bytes than were written" in said
    found = json.loads(call("verify", "out", "--json")[1])
    assert found["changed_files"] == [last.name]
