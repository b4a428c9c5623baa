"""Buffers that constructors filled: known to verify, and to what a ledger makes; names of wrappers."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg._plan import KeptBuffer
from initcfg.errors import PlanError
from initcfg.values import Constant

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("table", torch.arange(4))
        self.register_buffer("scratch", torch.ones(2), persistent=False)
"""
CONFIG = "model = dict(type='kept_net:Net', init_cfg=dict(type='Kaiming', layer='Conv2d'))"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("kept_net.py").write_text(NET)
    Path("c.py").write_text(CONFIG)
    assert run("init", "c.py", "-o", "w.safetensors", "--seed", "3")[0] == 0
    yield tmp_path
    sys.modules.pop("kept_net", None)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*words])
    return done.exit_code, done.output


def test_a_fresh_model_is_known_in_full(folder: Path) -> None:
    for words in (["w.safetensors"], ["w.safetensors", "--config", "c.py", "--seed", "3"]):
        code, said = run("verify", *words)
        assert code == 0, said
        assert "8 tensors (seed 3): 8 as initialized." in said
    assert initcfg.verify("w.safetensors", config="c.py", seed=3).exit_code == 0
    # What is saved alone, a plan, has only what it says.
    Path("p.json").write_text(run("plan", "c.py", "--json")[1])
    assert run("verify", "w.safetensors", "--plan", "p.json", "--seed", "3")[0] == 3
    for words in ([], ["--dtype", "bfloat16"]):
        assert run("init", "c.py", "-o", "folder", "--seed", "3", "--overwrite", *words)[0] == 0
        assert run("verify", "folder")[0] == 0


@pytest.mark.parametrize(
    ("name", "number", "detail"),
    [
        ("norm.running_mean", 1.0, "its constructor, from zero, to a norm of 2"),
        ("norm.running_var", 2.0, "its constructor"),
        ("norm.num_batches_tracked", 7, "its constructor, from zero, to a norm of 7"),
        ("table", 5, "its constructor left other numbers"),
    ],
)
def test_one_that_has_changed(folder: Path, name: str, number: float, detail: str) -> None:
    ledger = initcfg.Ledger.load("w.ledger.json")
    state = load_file("w.safetensors")
    state[name] = torch.full_like(state[name], number)
    found = initcfg.verify(state, ledger)
    assert (found[name].status, found[name].detail, found.exit_code) == ("changed", detail, 1)
    state[name] = torch.zeros(9)
    assert initcfg.verify(state, ledger)[name].status == "shape"


def test_what_a_ledger_says_of_them(folder: Path) -> None:
    ledger = initcfg.Ledger.load("w.ledger.json")
    assert set(ledger.kept) == {
        "table",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }
    assert ledger.kept["norm.running_var"] == KeptBuffer((4,), "float32", Constant(1.0))
    table = ledger.kept["table"]
    assert table.value is None and table.sha256 is not None and len(table.sha256) == 64
    assert initcfg.Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    # Without any such buffer a ledger is what it was.
    assert "kept" not in initcfg.init_weights(nn.Linear(2, 2), dict(type="Normal", layer="Linear")).to_json()


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"a": 1},
        {"a": {"shape": [2], "dtype": "float32"}},
        {"a": {"shape": [2], "dtype": "float32", "value": {"kind": "Normal", "mean": 0.0, "std": 1.0}}},
        {"a": {"shape": [2], "dtype": "float33", "value": {"kind": "Constant", "val": 0.0}}},
        {"conv.weight": {"shape": [2], "dtype": "float32", "value": {"kind": "Constant", "val": 0.0}}},
    ],
)
def test_a_strangers_ledger(folder: Path, wrong: object) -> None:
    data = json.loads(Path("w.ledger.json").read_text())
    with pytest.raises(PlanError):
        initcfg.Ledger.from_json({**data, "kept": wrong})


def test_weights_made_again(folder: Path) -> None:
    code, said = run("init", "--ledger", "w.ledger.json", "-o", "again.safetensors")
    assert code == 0 and "Left out, since only the model has their numbers: 1 buffer (table)." in said
    before, again = load_file("w.safetensors"), load_file("again.safetensors")
    assert set(before) - set(again) == {"table"}
    assert all(torch.equal(before[name], each) for name, each in again.items())
    assert run("verify", "again.safetensors")[0] == 0
    code, said = run("init", "--ledger", "w.ledger.json", "-o", "folder")
    assert code == 0 and "1 buffer (table)" in said and run("verify", "folder")[0] == 0
    Path("p.json").write_text(run("plan", "c.py", "--json")[1])
    code, said = run("init", "--plan", "p.json", "-o", "plain.safetensors", "--seed", "3")
    assert code == 0 and "A plan says nothing of buffers that only constructors fill" in said
    assert set(load_file("plain.safetensors")) == {"conv.weight", "conv.bias", "norm.weight", "norm.bias"}


def _wrapped(*parts: tuple[str, str]) -> Callable[[str], str]:
    def named(key: str) -> str:
        for old, new in parts:
            key = new + key if not old else key.replace(old, new, 1)
        return key

    return named


WRAPPERS = {
    "none": _wrapped(),
    "compiled parts": _wrapped(("0.0.", "0.0._orig_mod.")),
    "DDP within": _wrapped(("0.0.", "0.module.0."), ("0.1.", "0.module.1.")),
    "FSDP": _wrapped(("0.1.", "0.1._fsdp_wrapped_module."), ("", "_fsdp_wrapped_module.")),
    "activation checkpoints": _wrapped(("0.", "0._checkpoint_wrapped_module."), ("", "module.")),
    "several": _wrapped(("0.0.", "0._checkpoint_wrapped_module._fsdp_wrapped_module.0._orig_mod."),
                        ("", "_orig_mod.module.")),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPERS)
def test_names_of_wrappers(tmp_path: Path, name: str) -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2))
    rules = [dict(type="Normal", layer="Linear", std=0.1), dict(type="Constant", layer="BatchNorm1d", val=1)]
    ledger = initcfg.init_weights(model, rules, seed=0)
    state = {WRAPPERS[name](key): each for key, each in model.state_dict().items()}
    found = initcfg.verify(state, ledger)
    assert found.counts() == {"initial": 9} and found.exit_code == 0
    for other, named in WRAPPERS.items():
        beside = {named(key): each for key, each in model.state_dict().items()}
        assert initcfg.diff(state, beside, values=True).same, other
    key = next(iter(state))
    changed = initcfg.diff({**state, key: state[key] + 1}, model.state_dict(), values=True)
    assert list(changed.changed) == ["0.0.weight"] and changed.alike == 8


def test_a_child_that_is_called_module(tmp_path: Path) -> None:
    """A name that a model has goes before one that is only meant."""
    state = {"a.module.w": torch.zeros(2), "a.w": torch.ones(2)}
    assert initcfg.diff(state, dict(state), values=True).same
    only = initcfg.diff(state, {"a.w": torch.ones(2)}, values=True)
    assert list(only.only_a) == ["a.module.w"] and only.alike == 1


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_files_of_keras(folder: Path, name: str) -> None:
    hdf = b"\x89HDF\r\n\x1a\n" + bytes(200)
    if name.endswith(".keras"):
        with zipfile.ZipFile(name, "w") as file:
            file.writestr("config.json", "{}")
            file.writestr("model.weights.h5", hdf)
    else:
        Path(name).write_bytes(hdf)
    save_file({"a": torch.ones(1)}, "a.safetensors")
    for words in (["inspect", name], ["verify", name, "--config", "c.py", "--seed", "3"],
                  ["diff", name, "a.safetensors"], ["diff", "--values", "a.safetensors", name]):  # fmt: skip
        code, said = run(*words)
        assert code == 2 and "Keras" in said and "torch.save(model.state_dict(), 'weights.pth')" in said
