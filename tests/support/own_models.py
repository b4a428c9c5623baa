"""Small models of one's own in a module of one's own, and the command run on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from initcfg._api.command.cli import main

MODULE = "builder_models"
CODE = """
from torch import nn
import initcfg

def net(width=4, depth=3, std=0.02, bias=True) -> nn.Module:
    layers = [nn.Linear(width, width, bias=bias) for _ in range(depth)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
    return nn.Sequential(*layers, nn.LayerNorm(width))

def forwards(**arguments):
    return net(**arguments)

def nothing():
    return None

class Outer:
    class Net(nn.Module):
        def __init__(self, width=4):
            super().__init__()
            self.fc = nn.Linear(width, width)

        # Of a class that knows no init_cfg, as timm's and transformers' are.
        def init_weights(self):
            nn.init.ones_(self.fc.weight)

class Ruled(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.fc = nn.Linear(2, 2)

class Tied(nn.Module):
    def __init__(self, tie=True):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        if tie:
            self.b.weight = self.a.weight

class Own(initcfg.BaseModule):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def init_weights(self):
        self.fc.weight.data.copy_(self.fc.weight.data.cumsum(0))

number = 3
"""


def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fixture: the current folder, where the module of these models can be imported from."""
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop(MODULE, None)


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments), prog_name="initcfg")


def refused(*arguments: str) -> str:
    before = sorted(path.name for path in Path().iterdir() if path.name != "__pycache__")
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path().iterdir() if path.name != "__pycache__") == before
    return done.stderr
