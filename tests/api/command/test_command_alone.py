"""The command in a process of its own, where nothing else has loaded what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_trace_writes_a_config_though_nobody_imported_initcfg(tmp_path: Path) -> None:
    words = ["trace", "torch.nn:Linear", "--set", "in_features=2", "--set", "out_features=3", "-o", "x.yaml"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "initcfg", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "init_cfg" in (tmp_path / "x.yaml").read_text()
