"""Building, planning, tracing and filling load no compiler of torch's; where it is, the bits are the same."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import torch
from torch import nn
import initcfg

def numbers():
    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.1)).apply(model, seed=0)
    traced = nn.Linear(2, 2)
    initcfg.trace(lambda: nn.Linear(2, 2)).apply(traced, seed=0)
    return [each.clone() for each in (*model.parameters(), *traced.parameters())]

before = numbers()
print("torch._dynamo" in sys.modules)
import torch._dynamo
print(all(map(torch.equal, before, numbers())))
"""


def test_the_compiler_is_not_loaded_and_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
