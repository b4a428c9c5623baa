"""The coordinate check, and the file of shapes: small models, by the command."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from folders import inside
from torch import nn

from initcfg._api.command import main
from initcfg._api.coordinates.drawing import _drawn
from initcfg._api.coordinates.measured import ZERO, measure
from initcfg.errors import ArgumentError

CODE = """
import torch
from torch import nn

class CoordinateNet(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(40, width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 40, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        return self.head(self.norm(x + self.down(torch.relu(self.up(self.norm(x))))))

def inputs():
    return torch.arange(40).view(2, 20)
"""
TARGET = "coordinate_net:CoordinateNet"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "coordinate_net.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("coordinate_net", None)
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    with inside(folder):
        return CliRunner().invoke(main, list(words), prog_name="initcfg")


def checked(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = run(
        folder, "coordcheck", TARGET, "--vary", "width=32,64,128,256", "--std", "0.05", "--json", *words
    )
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def test_mup_passes_and_one_std_fails(folder: Path) -> None:
    code, found = checked(folder)
    assert code == 0 and found["passes"]
    assert set(found["modules"]) >= {"table", "up", "down", "head", ""}
    assert all(abs(each["slope"]) <= 0.1 for each in found["modules"].values())
    assert found["widths"] == [32, 64, 128, 256]
    assert all(row[-1] < row[0] for row in found["losses"])
    code, found = checked(folder, "--scheme", "dict(type='Normal', layer=['Linear', 'Embedding'], std=0.05)")
    assert code == 1 and not found["passes"]
    assert found["modules"]["down"]["slope"] > 0.5


def test_a_picture_and_an_example(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    checked(folder, "-o", "slopes.svg", "--example", "coordinate_net.py:inputs", "--seeds", "1")
    assert "<svg" in (folder / "slopes.svg").read_text(encoding="utf-8")


def test_without_matplotlib_nothing_is_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run(folder, "coordcheck", TARGET, "--vary", "width=32,64", "-o", "slopes.svg")
    assert done.exit_code == 2 and "initcfg[plot]" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--vary", "width=32"],
        ["--vary", "width=32,32"],
        ["--vary", "width=a,b"],
        ["--vary", "width=32,64", "--vary", "heads=1"],
        ["--vary", "width"],
        ["--vary", "wide=32,64"],
        ["--vary", "width=32,64", "--scheme", "Nothing"],
        ["--vary", "width=32,64", "--scheme", "dict(std=1)"],
        ["--vary", "width=32,64", "-o", "slopes.gif"],
        ["--vary", "width=32,64", "--lr", "nan"],
        ["--vary", "width=32,64", "--example", "nowhere.py:inputs"],
        ["--vary", "width=-1,64"],
    ],
)
def test_bad_arguments_are_one_error(folder: Path, words: list[str]) -> None:
    done = run(folder, "coordcheck", TARGET, *words)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_shapes_are_written_without_memory(folder: Path) -> None:
    done = run(folder, "shapes", TARGET, "--set", "width=65536", "-o", "shapes.json")
    assert done.exit_code == 0, done.output
    written = json.loads((folder / "shapes.json").read_text())
    assert written["shapes"]["up.weight"] == [131072, 65536]
    assert run(folder, "shapes", TARGET, "-o", "shapes.yaml").exit_code == 2


def test_two_widths_are_needed() -> None:
    with pytest.raises(ArgumentError, match="two widths"):
        measure(lambda width, seed: (nn.Linear(2, 2), []), [3.0], example=torch.zeros(1, 2))


def test_a_size_of_zero_is_a_gap_in_the_picture() -> None:
    # A head that starts at 0 would stretch the axis over thirty decades.
    assert _drawn(0.25) == 0.25
    assert math.isnan(_drawn(math.exp(math.log(ZERO)))) and math.isnan(_drawn(0.0))
