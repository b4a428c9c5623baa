"""rich is loaded when something is shown, and not before; Python's generator does not notice."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

START = """
import random, sys
import torch
import initcfg
random.seed(3)
rule = dict(type="Constant", layer="Linear", val=1)
model = torch.nn.Linear(2, 2)
"""
SHOWN = {
    "plan": "initcfg.plan(model, rule)",
    "ledger": "initcfg.init_weights(model, rule, seed=0)",
    "diff": "initcfg.diff(model.state_dict(), model.state_dict())",
    "inspect": "initcfg.inspect(model.state_dict())",
    "verify": "initcfg.verify(model.state_dict(), initcfg.plan(model, rule))",
    "compare": "initcfg.compare(initcfg.plan(model, rule), initcfg.plan(model, []))",
}


@pytest.mark.parametrize("name", SHOWN)
def test_rich_is_loaded_to_show_and_python_draws_the_same(name: str) -> None:
    code = (
        f"{START}found = {SHOWN[name]}\n"
        "loaded = 'rich' in sys.modules\n"
        "text = str(found)\n"
        "print(loaded, 'rich' in sys.modules, random.random())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == f"False True {random.Random(3).random()}\n"
