"""How a diagnosis is told: the mend of a class as an option, pages' languages, whose model failed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from own_models import refused, run
from torch import nn

import initcfg
from initcfg.errors import DiagnosisError

CODE = """
import torch
from torch import nn

class Loud(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.inner = nn.Linear(16, width)
        self.head = nn.Linear(width, 4)
        nn.init.normal_(self.head.weight, std=30.0)

    def forward(self, x):
        return self.head(self.inner(x).relu())

class Narrow(Loud):
    def forward(self, x):
        return super().forward(x[:, :7])

def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 16, generator=generator), torch.arange(32) % 4
"""
TARGET = "told_nets:Loud"
GIVEN = ("--batch", "told_nets.py:batch", "--steps", "0")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told_nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_mend_of_a_class_is_an_option_that_works() -> None:
    said = " ".join(run("diagnose", TARGET, *GIVEN).stdout.split())
    start = said.index('try it: --set "') + len('try it: --set "')
    option = said[start : said.index('"', start)]
    assert option.startswith("init_cfg=[dict(type='Normal', std=")
    assert option.endswith("param='head.weight')]")
    done = run("diagnose", TARGET, *GIVEN, "--strict", "--set", option)
    assert done.exit_code == 0 and "Nothing wrong" in done.stdout
    # With rules of one's own on the command line, it goes to the end of these.
    own = run("diagnose", TARGET, *GIVEN, "--set", "init_cfg=[dict(type='Normal', layer='Linear', std=9.0)]")
    assert "append to the list of --set init_cfg: dict(" in " ".join(own.stdout.split())


def test_a_config_has_it_appended() -> None:
    Path("told.yaml").write_text("model: {type: 'told_nets:Loud'}\n")
    assert "append to init_cfg: " in " ".join(run("diagnose", "told.yaml", *GIVEN).stdout.split())


@pytest.mark.parametrize("command", [("plan", TARGET), ("trace", TARGET), ("diagnose", TARGET, *GIVEN)])
def test_a_language_without_a_page_is_refused(command: tuple[str, ...]) -> None:
    assert "no page was asked for" in refused(*command, "--lang", "zh")


def test_the_model_that_fails_is_named() -> None:
    told = refused("diagnose", TARGET, *GIVEN, "--against", "told_nets:Narrow")
    assert "Of the second of the two, Narrow: " in told
    told = refused("diagnose", "told_nets:Narrow", *GIVEN, "--against", TARGET)
    assert "Of the first of the two, Narrow: " in told


def test_a_loss_that_is_no_number_is_shown_short() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    for loss, shown in (
        (lambda output, targets: output, "The loss is a model (Sequential), and should be one number; "),
        (lambda output, targets: "x" * 10_000, "..., and should be one number; "),
    ):
        with pytest.raises(DiagnosisError, match="so the loss was called as f") as caught:
            initcfg.diagnose(model, dict(input=torch.ones(2, 4)), loss)
        assert shown in str(caught.value) and len(str(caught.value)) < 400


def test_a_nan_has_no_sign() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.fill_(-math.nan)
    found = initcfg.diagnose(model, (torch.ones(2, 4), torch.tensor([0, 1])), steps=0)
    assert '"-nan"' not in json.dumps({**found.to_json(), "plan": None})
