"""Builders, on small modules of one's own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from own_models import MODULE, models_folder, refused, run
from safetensors.torch import load_file
from torch import nn

import initcfg
from initcfg import MODELS, errors
from initcfg._config import load_config
from initcfg._config.builders import builder as builder_of
from initcfg._config.builders import is_builder
from initcfg._config.builders.offline import offline
from initcfg._config.models import build_model
from initcfg._plan.plan import Plan

folder = pytest.fixture(models_folder)


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
    explained = run("explain", f"{MODULE}:net", "0.weight").stdout
    assert "Without any rule: Normal(mean=0, std=0.02), default (net)." in explained


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
