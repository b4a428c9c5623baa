"""Builders, and the commands trace and diff, on small modules of one's own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg import MODELS, errors
from initcfg._api.command.cli import main
from initcfg._config import load_config
from initcfg._config.builders import builder as builder_of
from initcfg._config.builders import is_builder
from initcfg._config.builders.offline import offline
from initcfg._config.models import build_model
from initcfg._plan.compare.comparison import compare, read_saved
from initcfg._plan.plan import Plan

MODULE = "builder_models"
CODE = """
from torch import nn
import initcfg

def net(width=4, depth=3, std=0.02, bias=True):
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
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


# -- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timm:resnet18", True),
        ("hf:folder/config.json", True),
        ("mmdet:retinanet/retinanet_r50_fpn_1x_coco", True),
        ("a.b:C.d", True),
        ("torch.nn.Linear", False),
        ("timm:", False),
        (":x", False),
        ("config.py", False),
        ("folder/a:b", False),
        ("mmdet::x", True),
    ],
)
def test_what_a_builder_looks_like(text: str, expected: bool) -> None:
    assert is_builder(text) is expected


def test_a_file_of_that_name_is_a_config(folder: Path) -> None:
    (folder / "torch.nn:Linear.py").write_text("model = dict(type='Identity')")
    assert load_config("torch.nn:Linear.py")["model"]["type"] == "Identity"


def test_function_with_arguments(folder: Path) -> None:
    done = run("plan", f"{MODULE}:net", "--set", "depth=2", "--set", "std=0.5", "--json")
    assert done.exit_code == 0, done.stderr
    plan = Plan.from_json(json.loads(done.stdout))
    assert list(plan) == [f"{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    assert plan["1.weight"].value.args["std"] == 0.5
    assert plan["2.weight"].value.args == {"val": 1}


def test_dotted_attributes_and_nested_arguments(folder: Path) -> None:
    assert type(initcfg.build(f"{MODULE}:Outer.Net")).__name__ == "Net"
    assert load_config(f"{MODULE}:net", overrides=["a.b=1", "a.c=[1,2]"]) == {
        "type": f"{MODULE}:net",
        "a": {"b": 1, "c": [1, 2]},
    }


def test_init_and_explain(folder: Path) -> None:
    done = run("init", f"{MODULE}:net", "-o", "w.safetensors", "--seed", "3")
    assert done.exit_code == 0, done.stderr
    written = load_file(folder / "w.safetensors")
    model = initcfg.build(dict(type=f"{MODULE}:net"), seed=3)
    assert all(torch.equal(written[name], item) for name, item in model.state_dict().items())
    assert "net makes it Normal(mean=0, std=0.02)" in run("explain", f"{MODULE}:net", "0.weight").stdout


# -- as the type of a config ---------------------------------------------------------------------


def test_type_in_a_config_file(folder: Path) -> None:
    (folder / "c.yaml").write_text(
        f"model:\n  type: '{MODULE}:Outer.Net'\n  width: 6\n  init_cfg:\n"
        "  - {type: Constant, layer: Linear, val: 5, bias: 2}\n"
    )
    done = run("explain", "c.yaml", "fc.weight")
    assert done.exit_code == 0, done.stderr
    assert "model.init_cfg[0] (c.yaml:5)" in done.stdout
    model = initcfg.build("c.yaml")
    # The class has an init_weights of its own, which knows no init_cfg: the rules are what counts.
    assert model.fc.weight.unique().tolist() == [5]
    assert model.fc.bias.unique().tolist() == [2]
    assert initcfg.plan(model, compat="mmengine")["fc.weight"].value.args == {"val": 5}


def test_a_class_that_takes_rules_gets_them(folder: Path) -> None:
    rule = dict(type="Constant", layer="Linear", val=3)
    model = initcfg.build(dict(type=f"{MODULE}:Ruled", init_cfg=rule))
    assert model.fc.weight.unique().tolist() == [3]
    assert model.init_cfg == rule


@pytest.mark.parametrize("compat", [None, "mmengine"])
@pytest.mark.parametrize("name", ["Outer.Net", "net"])
def test_nested_in_a_registered_class(folder: Path, name: str, compat: str | None) -> None:
    class Holder(initcfg.BaseModule):
        def __init__(self, inner: dict) -> None:
            super().__init__(dict(type="Constant", layer="Linear", val=1))
            self.inner = MODELS.build(inner)

    rules = [dict(type="Constant", layer="Linear", val=7)]
    cfg = dict(type=Holder, inner=dict(type=f"{MODULE}:{name}", init_cfg=rules))
    model = initcfg.build(cfg, compat=compat)
    linear = model.inner.fc if name == "Outer.Net" else model.inner[0]
    assert linear.weight.unique().tolist() == [7]
    assert rules == [dict(type="Constant", layer="Linear", val=7)]
    assert initcfg.plan(model).uncalled == ()


def test_a_registered_name_with_a_colon_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS.module_dict, "timm:resnet18", nn.Identity)
    assert type(initcfg.build(dict(type="timm:resnet18"))) is nn.Identity


def test_only_models_have_builders() -> None:
    with pytest.raises(errors.UnknownTypeError, match="names nothing that can be built"):
        initcfg.Registry("hook", scope="test").build(dict(type="torch.nn:Identity"))


# -- errors --------------------------------------------------------------------------------------


def test_modules_and_attributes_that_are_not_there(folder: Path) -> None:
    assert f"there is no module '{MODULE}s'" in refused("plan", f"{MODULE}s:net")
    assert "'timm:resnet18'" in refused("plan", "tim:resnet18")
    assert "did you mean: 'net'" in refused("plan", f"{MODULE}:nett")
    assert "'Net'" in refused("plan", f"{MODULE}:Outer.Nett")
    assert "is not a class or function" in refused("plan", f"{MODULE}:number")
    (folder / "breaks.py").write_text("import no_such_module_at_all")
    assert "no_such_module_at_all" in refused("plan", "breaks:net")


def test_what_is_no_module(folder: Path) -> None:
    assert "returns None, which is not a torch.nn.Module" in refused("plan", f"{MODULE}:nothing")
    with pytest.raises(errors.BuildError, match="returns a list"):
        builder_of("builtins:list", build_model)()


def test_wrong_arguments(folder: Path) -> None:
    assert "did you mean: 'width'" in refused("plan", f"{MODULE}:net", "--set", "witdh=3")
    # Refused further in, where no signature tells.
    message = refused("plan", f"{MODULE}:forwards", "--set", "witdh=3")
    assert f"'{MODULE}:forwards' takes no argument 'witdh'" in message
    assert "did you mean: 'width'" in message
    assert "'type' cannot be" in refused("plan", f"{MODULE}:net", "--set", "type=x")


def test_code_can_be_refused(folder: Path) -> None:
    assert "is Python code" in refused("plan", f"{MODULE}:net", "--no-python")


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        ("timm:resnet18", "initcfg[timm]"),
        ("torchvision:resnet18", "initcfg[torchvision]"),
        ("hf:gpt2", "initcfg[hf]"),
        ("mmdet:retinanet/x", "initcfg[mm]"),
        ("mmseg:fcn/x", "initcfg[mm]' mmsegmentation"),
    ],
)
def test_a_library_that_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, extra: str
) -> None:
    class Missing:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] in missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    missing = {"timm", "torchvision", "transformers"}
    for name in list(sys.modules):
        if name.partition(".")[0] in (*missing, "mmdet", "mmseg"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = refused("plan", text)
    assert "is not installed" in message
    assert extra in message


def test_offline_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    with contextlib.suppress(ZeroDivisionError), offline():
        assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
        raise ZeroDivisionError
    assert "HF_HUB_OFFLINE" not in os.environ
    assert os.environ["TRANSFORMERS_OFFLINE"] == "0"


# -- trace ---------------------------------------------------------------------------------------

needs_export = pytest.mark.skipif(
    not hasattr(Plan, "to_init_cfg"), reason="Plan.to_init_cfg is not there yet"
)


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


@needs_export
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


# -- diff ----------------------------------------------------------------------------------------


def differing(*arguments: str) -> str:
    done = run("diff", *arguments)
    assert done.exit_code == 1, done.output
    return done.stdout


def test_nothing_differs(folder: Path) -> None:
    done = run("diff", f"{MODULE}:net", f"{MODULE}:net")
    assert done.exit_code == 0
    assert done.stdout == "Nothing differs: 8 tensors are alike.\n"


def test_values_that_differ_are_one_line_a_pattern(folder: Path) -> None:
    shown = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.5")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[1] == [
        *("{0..2}.weight", "3"),
        *("Normal(mean=0,", "std=0.02)", "→", "Normal(mean=0,", "std=0.5)"),
    ]
    assert shown.splitlines()[-1] == "3 changed; 5 tensors are alike."
    full = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.5", "--full")
    assert [line.split()[0] for line in full.splitlines()[1:4]] == ["0.weight", "1.weight", "2.weight"]


def test_digits_that_are_not_shown(folder: Path) -> None:
    shown = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.0200001")
    assert "std=0.02 " in shown
    assert "std=0.0200001" in shown


def test_narrow_terminals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = differing(f"{MODULE}:net", f"{MODULE}:net", "--set-b", "std=0.5").splitlines()
    assert lines[:3] == [
        "{0..2}.weight  ×3",
        "    Normal(mean=0, std=0.02)",
        "  → Normal(mean=0, std=0.5)",
    ]


def test_what_one_side_alone_has_and_other_shapes(folder: Path) -> None:
    net = f"{MODULE}:net"
    data = json.loads(differing(net, net, "--set-a", "bias=false", "--set-b", "width=5", "--json"))
    assert list(data["only_b"]) == ["0.bias", "1.bias", "2.bias"]
    assert data["only_a"] == {}
    assert data["changed"]["0.weight"]["a"]["shape"] == [4, 4]
    assert data["changed"]["0.weight"]["b"]["shape"] == [5, 5]
    assert data["alike"] == 0
    shown = differing(net, net, "--set-a", "bias=false", "--set-b", "width=5")
    assert "only in B" in shown
    assert "4×4  →  5×5" in shown
    assert "5 changed, 3 only in B; 0 tensors are alike." in shown


def test_data_types() -> None:
    a = initcfg.plan(nn.Linear(2, 2))
    b = initcfg.plan(nn.Linear(2, 2, dtype=torch.bfloat16))
    from initcfg._plan.compare.view import diff_view
    from initcfg._plan.report.table import render

    found = compare(a, b)
    assert set(found.changed) == {"weight", "bias"}
    assert "float32  →  bfloat16" in render(diff_view(found))


def test_ties(folder: Path) -> None:
    data = json.loads(differing(f"{MODULE}:Tied", f"{MODULE}:Tied", "--set-b", "tie=false", "--json"))
    assert data["tied"] == {"b.weight": {"a": "a.weight", "b": None}}
    assert data["changed"] == data["only_a"] == data["only_b"] == {}
    assert "in A it is a.weight" in differing(f"{MODULE}:Tied", f"{MODULE}:Tied", "--set-b", "tie=false")


def test_ledgers_and_weights(folder: Path) -> None:
    for name, seed in (("a.safetensors", "1"), ("b.pth", "1"), ("c.pt", "2")):
        assert run("init", f"{MODULE}:net", "-o", name, "--seed", seed).exit_code == 0
    for name in ("a.safetensors", "a.ledger.json", "b.pth", "b.ledger.json"):
        assert run("diff", "a.safetensors", name).exit_code == 0
        assert run("diff", name, f"{MODULE}:net").exit_code == 0
    data = json.loads(differing("a.safetensors", "c.pt", "--json"))
    assert data["settings"] == {"seed": {"a": 1, "b": 2}}
    assert (data["alike"], data["changed"]) == (8, {})
    assert "seed: 1 → 2" in differing("a.ledger.json", "c.ledger.json")


def test_code_of_its_own_is_alike_in_plan_and_ledger(folder: Path) -> None:
    assert run("init", f"{MODULE}:Own", "-o", "own.safetensors", "--seed", "1").exit_code == 0
    done = run("diff", f"{MODULE}:Own", "own.safetensors")
    assert done.exit_code == 0, done.output


def test_reach_of_mmengine_is_explained(folder: Path) -> None:
    model = initcfg.Sequential(
        nn.MultiheadAttention(4, 2), init_cfg=dict(type="Normal", std=1.0, layer="MultiheadAttention")
    )
    found = compare(initcfg.plan(model), initcfg.plan(model, compat="mmengine"))
    assert "does not know in_proj_weight" in found.reasons["0.in_proj_weight"]
    assert set(found.reasons) == set(found.changed)


def test_what_cannot_be_compared(folder: Path) -> None:
    assert run("trace", f"{MODULE}:net", "--plan", "p.json").exit_code == 0
    assert "is a plan" in refused("diff", "p.json", "p.json", "--set-b", "x=1")
    assert "no ledger beside it" in refused("diff", "p.json", "w.pth")
    assert "holds no ledger" in refused("diff", "w.safetensors", "p.json")
    (folder / "bad.json").write_text('{"format": "initcfg-plan", "version": 99}')
    assert "version 99" in refused("diff", "bad.json", "p.json")
    (folder / "bad.json").write_text("{")
    assert "cannot be parsed" in refused("diff", "bad.json", "p.json")
    (folder / "bad.json").write_text('{"format": "initcfg-ledger", "version": 1}')
    assert "ledger" in refused("diff", "bad.json", "p.json")
