"""A ledger made again: what code wrote is made as it was written, or refused, and never guessed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg._api.command import main
from initcfg.errors import ApplyError, PlanError

CODE = """
import initcfg
import numpy as np
import torch
from torch import nn


def through_numpy(t: torch.Tensor) -> torch.Tensor:
    t.detach().numpy()[...] = 7
    return t


def of_numpys_draws(t: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return t.copy_(torch.from_numpy(np.random.randn(*t.shape)))


def of_its_own_generator(t: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return t.copy_(torch.from_numpy(np.random.default_rng().normal(size=tuple(t.shape))))


def told(t: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return t.normal_(0, 0.3)


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.Linear(4, 2))


class Own(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.told, self.over, self.numpy = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 4)

    def init_weights(self):
        super().init_weights()
        nn.init.normal_(self.told.weight, std=0.3)
        nn.init.normal_(self.over.weight, std=0.3)
        self.over.weight.detach().numpy()[0] = 7
        self.numpy.weight.detach().numpy()[...] = 7
"""
CONFIG = "model = dict(type='code_of_a_ledger.{model}', init_cfg=[dict(type='{rule}', layer='Linear')])\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "code_of_a_ledger.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "code_of_a_ledger", raising=False)

    def command(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == code, done.output
        return done.output

    return command


def made(run: Any, model: str, rule: str) -> None:
    Path("c.py").write_text(CONFIG.format(model=model, rule=rule))
    run("init", "c.py", "-o", "first.safetensors", "--seed", "0")


@pytest.mark.parametrize("rule", ["through_numpy", "of_numpys_draws", "of_its_own_generator"])
@pytest.mark.parametrize("ledger", ["first.ledger.json", "first.safetensors"])
@pytest.mark.parametrize("output", ["again.safetensors", "again"])
def test_what_a_function_wrote_by_itself_is_refused_as_of_a_plan(
    run: Any, rule: str, ledger: str, output: str
):
    made(run, "Net", f"code_of_a_ledger.{rule}")
    refused = run("init", "--ledger", ledger, "-o", output, code=2)
    written = f"written by code: function {rule}"
    assert refused.startswith(
        f"error: 2 tensors cannot be made without the model: 0.weight ({written}), 1.weight ({written})."
    )
    assert not any(Path(".").glob("again*/*")) and not Path("again.safetensors").exists()
    Path("plan.json").write_text(run("plan", "c.py", "--json"))
    assert "2 tensors cannot be made without the model: 0.weight" in run(
        "init", "--plan", "plan.json", "-o", output, code=2
    )


def test_what_a_function_wrote_in_words_is_made_again(run: Any):
    made(run, "Net", "code_of_a_ledger.told")
    run("init", "--ledger", "first.ledger.json", "-o", "again.safetensors")
    first, again = load_file("first.safetensors"), load_file("again.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_of_a_model_s_own_code_what_it_wrote_by_itself_is_named(run: Any):
    made(run, "Own", "Xavier")
    ledger = initcfg.Ledger.load("first.ledger.json")
    meant = {name: entry.meant for name, entry in ledger.items() if entry.by == "code"}
    assert meant == {"told.weight": True, "over.weight": False, "numpy.weight": False}
    refused = run("init", "--ledger", "first.ledger.json", "-o", "again.safetensors", code=2)
    assert "2 tensors cannot be made without the model: over.weight (" in refused
    assert "numpy.weight (" in refused and "told.weight" not in refused


def sevens(tensor: torch.Tensor) -> torch.Tensor:
    tensor.detach().numpy()[...] = np.float32(7)
    return tensor


def test_in_python():
    model = nn.Sequential(nn.Linear(3, 4))
    before = [dict(type="Normal", layer="Linear"), dict(type=sevens, layer="Linear")]
    ledger = initcfg.init_weights(model, before, seed=0)
    assert ledger["0.weight"].by == "code" and not ledger["0.weight"].meant
    with pytest.raises(PlanError, match="written by code"):
        ledger.tensor("0.weight")
    with pytest.raises(PlanError, match="written by code"):
        ledger.plan.tensor("0.weight", seed=0)
    linear = nn.Linear(3, 4)
    kept, other = linear.weight.detach().clone(), nn.Sequential(linear)
    with pytest.raises(ApplyError, match="holds code of the model's own"):
        ledger.plan.apply(other, seed=0)
    assert torch.equal(linear.weight, kept)
