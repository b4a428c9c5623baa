"""The hook in the real pre-commit, from a local clone of this repository."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.group
ROOT = Path(__file__).parents[3]


def git(*words: str, cwd: Path) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@localhost", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout


def test_the_hook_of_a_local_clone(tmp_path: Path) -> None:
    """It passes while the model is as locked, and stops a commit that changes what it starts with."""
    pytest.importorskip("pre_commit")
    clone, project, bin_ = tmp_path / "clone", tmp_path / "project", tmp_path / "bin"
    for folder in (clone, project, bin_):
        folder.mkdir()
    (clone / ".pre-commit-hooks.yaml").write_bytes((ROOT / ".pre-commit-hooks.yaml").read_bytes())
    git("init", "-q", cwd=clone)
    git("add", "-A", cwd=clone)
    git("commit", "-qm", "hooks", cwd=clone)
    revision = git("rev-parse", "HEAD", cwd=clone).strip()
    command = bin_ / "initcfg"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m initcfg "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(bin_), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
    }
    config = project / "linear.yaml"
    config.write_text(
        "model:\n  type: Linear\n  in_features: 2\n  out_features: 2\n"
        "  init_cfg: {type: Constant, layer: Linear, val: 1}\n"
    )
    (project / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {clone}\n  rev: {revision}\n  hooks:\n  - id: initcfg-check\n"
    )
    git("init", "-q", cwd=project)
    subprocess.run([command, "lock", "linear.yaml"], cwd=project, env=environment, check=True)
    git("add", "-A", cwd=project)

    def run() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose"]
        return subprocess.run(
            words, cwd=project, env=environment, check=False, capture_output=True, text=True
        )

    passed = run()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "linear.yaml: 2 tensors start as locked." in passed.stdout
    config.write_text(config.read_text().replace("val: 1", "val: 2"))
    failed = run()
    assert failed.returncode == 1
    assert "before  Constant(val=1.0)" in failed.stdout and "now     Constant(val=2.0)" in failed.stdout
    assert "config linear.yaml has changed" in failed.stdout
