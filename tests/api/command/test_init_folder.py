"""The command init, where it streams a folder: what it writes, says and refuses."""

from __future__ import annotations

import json
import os

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, load_model
from streaming_models import all_bits, stored

import initcfg
from initcfg._api.command.cli import main

CONFIG = """
model = dict(type="torch.nn.TransformerEncoderLayer", d_model=16, nhead=2, dim_feedforward=32)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CONFIG)
    return tmp_path


def run(*words, code=0):
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_writes_what_its_single_file_holds(folder):
    run("init", "net.py", "-o", "one.safetensors", "--seed", "4")
    out = run("init", "net.py", "-o", "many", "--shard-size", "3kB", "--seed", "4")
    assert all_bits(stored(folder / "many")) == all_bits(load_file(folder / "one.safetensors"))
    assert "12 tensors streamed piece by piece (8.9 kB)" in out
    assert "seed 4" in out
    assert "model-00002-of-00004.safetensors" in out
    one, many = (initcfg.Ledger.load(each) for each in ("one.ledger.json", "many/model.ledger.json"))
    assert one == many


def test_the_command_in_json(folder):
    found = json.loads(run("init", "net.py", "-o", "many", "--shard-size", "3kB", "--seed", "4", "--json"))
    assert found["seed"] == 4
    assert found["ways"] == {"streamed": {"tensors": 12, "bytes": 4 * 2224}}
    assert [file["name"] for file in found["files"]] == sorted(os.listdir("many"))[:4]
    assert sum(file["size"] for file in found["files"]) == found["bytes"] == found["written"]
    again = json.loads(run("init", "net.py", "-o", "many", "--shard-size", "3kB", "--json"))
    assert again["there"] is True
    assert again["seed"] == 4


def test_other_commands_know_the_folder(folder):
    run("init", "net.py", "-o", "many", "--shard-size", "3kB", "--seed", "4", "--dtype", "bfloat16")
    assert "12 as initialized" in run("verify", "many")
    assert "12 as initialized" in run("verify", "many/model.safetensors.index.json")
    assert "2 shards" in run("inspect", "many")
    out = run("diff", "many", "net.py", code=1)
    assert "bfloat16" in out
    # And what is loaded from it is the same.
    rule = dict(type="Pretrained", checkpoint="many")
    model = initcfg.build(
        dict(type="torch.nn.TransformerEncoderLayer", d_model=16, nhead=2, dim_feedforward=32)
    )
    initcfg.plan(model, rule).apply(model, seed=0)
    wanted = {key: tensor.float() for key, tensor in stored(folder / "many").items()}
    assert all_bits(model.state_dict()) == all_bits(wanted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "w.safetensors", "--dtype", "bfloat16"), "is the name of a file"),
        (("-o", "w.onnx"), "ends in none of"),
        (("-o", "out", "--shard-size", "many"), "is not a size of a shard"),
        (("-o", "out", "--shard-size", "0GB"), "is not a size of a shard"),
        (("-o", "a/b/out"), "does not exist"),
        (("-o", "net.py", "--shard-size", "1GB"), "is a file"),
        (("-o", "out", "--format", "dcp", "--shard-size", "1GB"), "are for the format 'safetensors'"),
        (("-o", "out", "--dcp-key", "model"), "is for the format 'dcp'"),
        (("-o", "out", "--seed", "-1"), "-1 is not in the range 0<=x<=18446744073709551615"),
    ],
)
def test_refusals_leave_nothing(folder, words, message):
    assert message in run("init", "net.py", *words, code=2)
    assert sorted(each.name for each in folder.iterdir() if each.name != "__pycache__") == ["net.py"]


TIED = """
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.lm_head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.lm_head.weight = self.wte.weight
"""


def test_a_tied_tensor_has_one_key_in_a_file_and_in_a_folder(folder):
    (folder / "tied.py").write_text(TIED)
    run("init", "tied:Tied", "-o", "one.safetensors", "--seed", "0")
    run("init", "tied:Tied", "-o", "many", "--seed", "0")
    one, many = load_file("one.safetensors"), load_file("many/model.safetensors")
    # The loaders of libraries tie a head to its embedding, and look for that.
    assert list(one) == list(many) == ["wte.weight"]
    assert torch.equal(one["wte.weight"], many["wte.weight"])
    for file in ("one.safetensors", "many/model.safetensors"):
        model = initcfg.build("tied:Tied", seed=1)
        load_model(model, file, strict=True)
        assert torch.equal(model.lm_head.weight, one["wte.weight"])
        assert "1 as initialized" in run("verify", file.removesuffix("/model.safetensors"))
