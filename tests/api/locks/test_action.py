"""The GitHub Action: its steps, run as its runner would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import initcfg

ROOT = Path(__file__).parents[3]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())


def run(step: dict[str, Any], inputs: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    python = bin_ / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    given = {name: inputs[value[len("${{ inputs.") : -len(" }}")]] for name, value in step["env"].items()}
    environment = {
        **os.environ,
        **given,
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
    }
    # As GitHub documents `shell: bash`.
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(words, cwd=folder, env=environment, check=False, capture_output=True, text=True)


def test_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "linear.yaml"
    text = "model:\n  type: Linear\n  in_features: 2\n  out_features: 2\n"
    config.write_text(text + "  init_cfg: {type: Constant, layer: Linear, val: 1}\n")
    initcfg.lock("linear.yaml")
    inputs = {name: each["default"] for name, each in ACTION["inputs"].items()}
    install, check = ACTION["runs"]["steps"]
    done = run(check, inputs, tmp_path)
    assert (done.returncode, done.stdout) == (0, "linear.yaml: 2 tensors start as locked.\n"), done.stderr
    assert (tmp_path / "output").read_text() == "same=true\n"
    config.write_text(text + "  init_cfg: {type: Constant, layer: Linear, val: 2}\n")
    done = run(check, inputs | {"locks": "init.lock init.lock", "arguments": "--full"}, tmp_path)
    assert done.returncode == 1 and done.stdout.count("1 changed") == 2
    assert (tmp_path / "output").read_text() == "same=true\nsame=false\n"
    summary = (tmp_path / "summary").read_text()
    assert summary.count("### initcfg check") == 2 and "now     Constant(val=2.0)" in summary
    assert not (tmp_path / "check.txt").exists()
    done = run(install, inputs | {"install": "--help -q"}, tmp_path)
    assert done.returncode == 0 and "pip install [options]" in done.stdout


def test_no_input_is_a_part_of_a_script() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
