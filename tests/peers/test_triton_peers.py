"""The kernel for GPUs where no GPU is: its numbers by Triton's interpreter, its instructions by its compiler.

Each in a process of its own: the interpreter is chosen before Triton is imported, and torch looks for Triton.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
]


def passed(file: str, **environment: str) -> int:
    """How many tests of a file pass, of which none may fail."""
    inherited = {
        name: each for name, each in os.environ.items() if not name.startswith(("TRITON", "INITCFG"))
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        str(HERE / file),
    ]
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=inherited | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    (summary,) = re.findall(r"^(\d+) passed(?:, \d+ skipped)? in ", done.stdout, re.MULTILINE)
    return int(summary)


def test_its_numbers_by_the_interpreter() -> None:
    assert passed("triton_interpreted.py", TRITON_INTERPRET="1") > 100


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles for CUDA on Linux")
def test_its_instructions_by_the_compiler() -> None:
    assert passed("triton_compiled.py") > 50


def test_importing_initcfg_leaves_triton_alone() -> None:
    code = (
        "import sys, torch, initcfg; from torch import nn; "
        "initcfg.plan(nn.Linear(3, 3), dict(type='Normal', layer='Linear')); "
        "import initcfg._stream.writing.stream; "
        "print([name for name in sys.modules if name.startswith('initcfg._stream.writing.cuda.triton')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
