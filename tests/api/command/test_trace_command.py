"""The command trace: the plan it shows, and the files it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_models import MODULE, models_folder, refused, run

import initcfg
from initcfg._config.builders import builder as builder_of
from initcfg._config.models import build_model
from initcfg._plan.compare.comparison import read_saved
from initcfg._plan.plan import Plan

folder = pytest.fixture(models_folder)


def test_trace_shows_the_plan(folder: Path) -> None:
    done = run("trace", f"{MODULE}:net", "--set", "depth=2")
    assert done.exit_code == 0, done.stderr
    assert "{0,1}.weight" in done.stdout
    assert done.stdout.splitlines()[-1] == "6 of 6 tensors symbolic (100 % of elements)."
    assert "0.weight" in run("trace", f"{MODULE}:net", "--full").stdout
    assert Plan.from_json(json.loads(run("trace", f"{MODULE}:net", "--json").stdout))


def test_the_last_line_counts_what_has_no_name(folder: Path, without_rehearsal: None) -> None:
    plan = initcfg.plan(builder_of(f"{MODULE}:Own", build_model)())
    from initcfg._plan.report.table import symbolic

    assert symbolic(plan) == "0 of 2 tensors symbolic (0 % of elements); 2 opaque: fc.weight, fc.bias."


def test_trace_writes_a_plan(folder: Path) -> None:
    done = run("trace", f"{MODULE}:net", "--plan", "p.json")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "p.json"
    assert isinstance(read_saved("p.json"), Plan)
    assert run("diff", f"{MODULE}:net", "p.json").exit_code == 0


@pytest.mark.parametrize("name", ["x.yaml", "x.json", "x.py", "x.toml"])
def test_trace_writes_a_config(folder: Path, name: str) -> None:
    done = run("trace", f"{MODULE}:net", "--set", "depth=2", "-o", name, "--plan", "p.json")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{name}, p.json"
    found = run("diff", name, "p.json")
    assert found.exit_code == 0, found.output
    model = initcfg.Config.fromfile(name).model
    assert model.type == f"{MODULE}:net"
    assert model.depth == 2
    # The rules, not the constructors, say it: they can be changed.
    data = json.loads(run("plan", name, "--json").stdout)
    assert data["parameters"]["0.weight"]["rule"].startswith("model.init_cfg")


def test_what_trace_writes_appears_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules: list[dict] = [dict(type="Constant", layer="Linear", val=9)]
    monkeypatch.setattr(Plan, "to_init_cfg", lambda self, **options: rules, raising=False)
    arguments = ("trace", f"{MODULE}:net", "--set", "depth=1", "-o", "x.yaml", "--plan", "p.json")
    assert run(*arguments).exit_code == 0
    assert initcfg.Config.fromfile("x.yaml").to_dict() == {
        "model": {"type": f"{MODULE}:net", "depth": 1, "init_cfg": rules}
    }
    assert json.loads(run("plan", "x.yaml", "--json").stdout)["parameters"]["0.weight"]["value"]["val"] == 9

    Path("x.yaml").write_text("old")
    Path("p.json").unlink()
    Path("p.json").mkdir()
    assert "is a folder" in refused(*arguments)
    assert Path("x.yaml").read_text() == "old"
    # A rule that no YAML can hold is found before anything is written.
    Path("p.json").rmdir()
    rules[0]["val"] = object()
    assert "a .yaml file cannot say" in refused(*arguments)
    assert Path("x.yaml").read_text() == "old"


def test_outputs_of_trace_that_cannot_be(folder: Path) -> None:
    target = f"{MODULE}:net"
    assert "ends in none of" in refused("trace", target, "-o", "x.txt")
    assert "ends in none of" in refused("trace", target, "--plan", "x.yaml")
    assert "does not exist" in refused("trace", target, "--plan", "no/x.json")
    assert "one file" in refused("trace", target, "-o", "x.json", "--plan", "x.json")
    (folder / "c.py").write_text("model = dict(type='Identity')")
    assert "no config is written" in refused("trace", "c.py", "-o", "x.yaml")
