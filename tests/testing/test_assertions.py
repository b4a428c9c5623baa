"""Assertions for other people's tests, and the plug-in of pytest."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import PlanError
from initcfg.testing import assert_initialized, assert_plan_matches

pytest_plugins = ["pytester"]
NORMAL = dict(type="Normal", layer="Linear", std=0.02)


def message(*arguments, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_initialized(*arguments, **options)
    return str(caught.value)


def test_a_model_that_is_initialized() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    assert_initialized(model)
    initcfg.init_weights(model, NORMAL)
    assert_initialized(model)
    assert_initialized(nn.DataParallel(model))
    assert_initialized(initcfg.build(dict(type="Linear", in_features=2, out_features=2)))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(number: float) -> None:
    model = nn.Linear(4, 2)
    model.weight.data[0, 1] = number
    assert message(model) == ("1 tensor is not initialized:\n  weight  1 of 8 elements are NaN or infinite")
    assert_initialized(model, finite=False)


def test_a_buffer_counts() -> None:
    model = nn.BatchNorm1d(2)
    model.running_var.fill_(float("nan"))
    assert "running_var  2 of 2 elements" in message(model)


def test_memory_that_is_not_there() -> None:
    with initcfg.deferred():
        pending = nn.Linear(2, 2)
    assert "weight  pending: its plan was not applied" in message(pending)
    initcfg.init_weights(pending)
    assert_initialized(pending)
    assert "weight  without a shape: its layer has seen no batch" in message(nn.LazyLinear(3))
    assert "bias  on the meta device" in message(nn.Linear(2, 2, device="meta"))


def test_what_nobody_wrote() -> None:
    class Unwritten(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.empty(3))

    with initcfg.deferred():
        model = Unwritten()
    plan = initcfg.plan(model)
    plan.apply(model)
    model.table.data.fill_(1.0)
    assert "table  never written: no rule and no constructor fills it" in message(model)
    assert "table  never written" in message(model, plan=plan)


def test_what_came_after_the_plan() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    ledger = initcfg.init_weights(model, NORMAL)
    model.append(nn.Linear(2, 2))
    assert "1.weight  not accounted for: the plan does not know it" in message(model)
    assert "1.weight  not accounted for" in message(model, plan=ledger)
    del model[1]
    model[0].weight = nn.Parameter(torch.zeros(3, 2))
    assert "0.weight  of shape (3, 2), and was planned as (2, 2)" in message(model)
    model[0] = nn.Identity()
    assert "0.bias  planned, and not in the model" in message(model)


def test_many_faults_are_few_lines() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1, device="meta") for _ in range(50)))
    lines = message(model).splitlines()
    assert lines[0] == "100 tensors are not initialized:" and lines[-1] == "  ... and 81 more"
    assert len(lines) == 21


def test_golden_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = tmp_path / "golden.json"
    plan = initcfg.plan(nn.Linear(2, 2), NORMAL)
    with pytest.raises(AssertionError, match=r"There is no plan to compare with: .*golden.json"):
        assert_plan_matches(plan, golden)
    assert not golden.exists()
    assert_plan_matches(plan, golden, update=True)
    assert initcfg.Plan.from_json(json.loads(golden.read_text())) == plan
    assert_plan_matches(plan, golden)
    other = initcfg.plan(nn.Linear(2, 2), {**NORMAL, "std": 0.5})
    with pytest.raises(AssertionError) as caught:
        assert_plan_matches(other, golden)
    assert re.search(r"weight +Normal\(mean=0, std=0.02\) +→ +Normal\(mean=0, std=0.5\)", str(caught.value))
    assert "1 changed; 1 tensor is alike." in str(caught.value)
    assert_plan_matches(other, golden, update=True)
    assert_plan_matches(other, golden)


def test_golden_plans_of_models_and_ledgers(tmp_path: Path) -> None:
    class Mine(initcfg.BaseModule):
        def __init__(self, std: float) -> None:
            super().__init__(dict(type="Normal", layer="Linear", std=std))
            self.fc = nn.Linear(2, 2)

    golden = tmp_path / "golden.json"
    assert_plan_matches(Mine(0.1), golden, update=True)
    assert_plan_matches(Mine(0.1), golden)
    with pytest.raises(AssertionError, match="1 changed"):
        assert_plan_matches(Mine(0.2), golden)
    ledger = initcfg.init_weights(Mine(0.1), seed=0)
    assert_plan_matches(ledger, tmp_path / "ledger.json", update=True)
    assert_plan_matches(ledger, tmp_path / "ledger.json")
    with pytest.raises(TypeError, match="as model_or_plan, not 3"):
        assert_plan_matches(3, golden)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"format": "initcfg-plan", "version": 99}'])
def test_a_golden_file_that_is_none(tmp_path: Path, text: str) -> None:
    golden = tmp_path / "golden.json"
    golden.write_text(text)
    plan = initcfg.plan(nn.Linear(2, 2), NORMAL)
    with pytest.raises(PlanError):
        assert_plan_matches(plan, golden)
    assert golden.read_text() == text
    assert_plan_matches(plan, golden, update=True)
    assert_plan_matches(plan, golden)


TEST = """
import initcfg
from initcfg.testing import assert_plan_matches
from torch import nn

def test_plan():
    rule = dict(type="Normal", layer="Linear", std=STD)
    assert_plan_matches(initcfg.plan(nn.Linear(2, 2), rule), "golden.json")
"""


def _arguments() -> list[str]:
    """An install has the entry point; a checkout on the path may not."""
    there = any(each.name == "initcfg" for each in importlib.metadata.entry_points(group="pytest11"))
    return [] if there else ["-p", "initcfg.testing.plugin"]


def test_the_plug_in(pytester: pytest.Pytester) -> None:
    """The file lies beside the test, wherever pytest was started; it is written only where asked."""
    folder = pytester.mkdir("inner")
    test = folder / "test_plan.py"
    test.write_text(TEST.replace("STD", "0.02"))
    arguments = [*_arguments(), "-q", "-p", "no:cacheprovider"]
    missing = pytester.runpytest_inprocess(*arguments)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*There is no plan to compare with*", "*pytest --initcfg-update*"])
    written = pytester.runpytest_inprocess(*arguments, "--initcfg-update")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines([f"initcfg: wrote {folder / 'golden.json'}"])
    pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)
    before = (folder / "golden.json").read_text()
    test.write_text(TEST.replace("STD", "0.25"))
    os.utime(test, ns=(0, test.stat().st_mtime_ns + 10**10))
    differs = pytester.runpytest_inprocess(*arguments)
    differs.assert_outcomes(failed=1)
    differs.stdout.fnmatch_lines(["*weight*Normal(mean=0, std=0.02)*Normal(mean=0, std=0.25)*"])
    assert (folder / "golden.json").read_text() == before
    pytester.runpytest_inprocess(*arguments, "--initcfg-update").assert_outcomes(passed=1)
    pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)


def test_an_idle_plug_in_imports_no_torch() -> None:
    code = (
        "import sys, initcfg.testing.plugin, initcfg.testing\n"
        "print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
