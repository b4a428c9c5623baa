"""The command roles: the table, JSON, and the dict that says the same in a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_models import refused, run

from initcfg._model import find_roles
from initcfg._plan.report import merge_exactly

MODEL = """
import sys
sys.path.insert(0, {support!r})
import torch
from role_models import NanoGPT

def ids():
    return (torch.zeros(2, 8, dtype=torch.long),)

def broken():
    raise KeyError("no batch")
"""
ARGUMENTS = ("roles_gpt:NanoGPT", "--example", "roles_gpt.py:ids")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    support = str(Path(__file__).parents[2] / "support")
    (tmp_path / "roles_gpt.py").write_text(MODEL.format(support=support))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table() -> None:
    done = run("roles", *ARGUMENTS)
    assert done.exit_code == 0, done.output
    rows = {tuple(line.split()) for line in done.stdout.splitlines() if line.strip()}
    assert ("attn_qkv", "3", "h.{0..2}.mix_in.weight", "0..2", "4", "seen") in rows
    assert ("attn_out", "3", "h.{0..2}.mix_back.weight", "0..2", "–", "seen", "residual_out") in rows
    assert ("embedding", "1", "out.weight", "–", "–", "seen", "head") in rows
    assert "3 blocks, 6 residual adds; width 16; pre-norm; head tied to the embedding." in done.stdout
    assert 'residual_out=["h.*.mix_back.weight", "h.*.down.weight"], blocks="h")' in done.stdout


def test_json() -> None:
    done = run("roles", *ARGUMENTS, "--json")
    found = json.loads(done.stdout)
    assert (found["layers"], found["residuals"], found["width"]) == (3, 6, 16)
    assert found["tensors"]["h.1.mix_in.weight"] == {
        "roles": ["attn_qkv"],
        "how": "seen",
        "layer": 1,
        "heads": 4,
        "layers": 3,
        "residuals": 6,
        "stack": 0,
    }
    assert found["stacks"] == [{"layers": 3, "residuals": 6}]


def test_the_dict_says_the_same_without_looking() -> None:
    done = run("roles", *ARGUMENTS, "--config")
    namespace: dict = {}
    exec(done.stdout, namespace)
    from role_models import NanoGPT

    declared = find_roles(NanoGPT(), declared=namespace["roles"])
    seen = json.loads(run("roles", *ARGUMENTS, "--json").stdout)["tensors"]
    assert {name: (set(each.roles), each.layer) for name, each in declared.tensors.items()} == {
        name: (set(each["roles"]), each["layer"]) for name, each in seen.items()
    }
    assert {each.how for each in declared.tensors.values()} == {"declared"}


def test_a_config_says_them(folder: Path) -> None:
    said = run("roles", *ARGUMENTS, "--config").stdout
    (folder / "c.py").write_text(f"model = dict(type='roles_gpt:NanoGPT')\n{said}")
    found = json.loads(run("roles", "c.py", "--json").stdout)
    assert found["layers"] == 3 and found["tensors"]["h.0.up.weight"]["how"] == "declared"
    (folder / "d.py").write_text("model = dict(type='roles_gpt:NanoGPT')\nexample = 'roles_gpt.py:ids'\n")
    found = json.loads(run("roles", "d.py", "--json").stdout)
    assert found["layers"] == 3 and found["tensors"]["h.0.up.weight"]["how"] == "seen"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("roles_gpt:NanoGPT",), "what it takes as input is not known"),
        (("roles_gpt:NanoGPT", "--example", "roles_gpt.py:none"), "has no function 'none'"),
        (("roles_gpt:NanoGPT", "--example", "none.py:ids"), "here is no file"),
        (("roles_gpt:NanoGPT", "--example", "roles_gpt.py:broken"), "raised KeyError: 'no batch'"),
        (("roles_gpt:NanoGPT", "--example", "ids"), "'file.py:function'"),
    ],
)
def test_errors(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("roles", *arguments)


def test_a_row_names_the_tensors_that_it_is_of(folder: Path) -> None:
    (folder / "stages.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inp = nn.Linear(4, 4)\n"
        "        self.stage1 = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))\n"
        "        self.stage2 = nn.ModuleList(nn.Linear(4, 4) for _ in range(7))\n"
        "    def forward(self, x):\n"
        "        x = self.inp(x)\n"
        "        for number, each in enumerate([*self.stage1, *self.stage2]):\n"
        "            x = x + torch.tanh(each(x)) if number % 2 == 0 else each(x)\n"
        "        return x\n"
        "def x():\n"
        "    return (torch.zeros(2, 4),)\n"
    )
    out = run("roles", "stages:Net", "--example", "stages.py:x").stdout
    assert "stage1.0.weight, stage2.{0,2,4,6}.weight" in out
    assert merge_exactly([f"h.{n}.w" for n in range(0, 12, 2)]) == ["h.{0,2,4,6,8,10}.w"]


@pytest.mark.parametrize("command", [("plan",), ("explain", "h.0.down.weight"), ("init", "-o", "w.pth")])
def test_every_command_that_plans_takes_an_example(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "gpt.py").write_text("model = dict(type='roles_gpt:NanoGPT', init_cfg=dict(type='GPT2'))\n")
    name, *more = command
    done = run(name, "gpt.py", *more)
    assert done.exit_code == 2 and "--example file.py:function for plan, explain, init" in done.stderr
    done = run(name, "gpt.py", *more, "--example", "roles_gpt.py:ids")
    assert done.exit_code == 0, done.output
    assert run(name, "gpt.py", *more, "--example", "roles_gpt.py:ids", "--untrusted").exit_code == 2
