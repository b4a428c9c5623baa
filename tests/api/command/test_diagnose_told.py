"""How a diagnosis is told: pages' languages, whose model failed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from own_models import refused
from torch import nn

import initcfg

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


@pytest.mark.parametrize("command", [("plan", TARGET), ("trace", TARGET), ("diagnose", TARGET, *GIVEN)])
def test_a_language_without_a_page_is_refused(command: tuple[str, ...]) -> None:
    assert "no page was asked for" in refused(*command, "--lang", "zh")


def test_the_model_that_fails_is_named() -> None:
    told = refused("diagnose", TARGET, *GIVEN, "--against", "told_nets:Narrow")
    assert "Of the second of the two, Narrow: " in told
    told = refused("diagnose", "told_nets:Narrow", *GIVEN, "--against", TARGET)
    assert "Of the first of the two, Narrow: " in told


def test_a_nan_has_no_sign() -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.fill_(-math.nan)
    found = initcfg.diagnose(model, (torch.ones(2, 4), torch.tensor([0, 1])), steps=0)
    assert '"-nan"' not in json.dumps({**found.to_json(), "plan": None})
