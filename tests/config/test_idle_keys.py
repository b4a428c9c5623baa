"""Top-level keys that nothing reads, and configs without a model: what is said, and where."""

import logging

import pytest
from torch import nn

import initcfg
from initcfg import Config, errors
from initcfg.values import Constant

LINEAR = "model: {type: Linear, in_features: 2, out_features: 2%s}\n"


def told(caplog, text, suffix=".yaml"):
    with caplog.at_level(logging.WARNING, "initcfg"):
        initcfg.build(Config.fromstring(text, suffix, import_modules=False))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("key", "meant"),
    [("import", "imports"), ("role", "roles"), ("examples", "example"), ("custom_import", "custom_imports")],
)
def test_a_near_key_is_told(caplog, key, meant):
    said = told(caplog, f"{LINEAR % ''}{key}: x\n")
    assert said == [f"Nothing reads the config's key {key!r}. Did you mean {meant!r}? (<text>.yaml:2)"]


@pytest.mark.parametrize("key", ["train_cfg", "default_hooks", "optimizer", "data", "exp"])
def test_keys_of_others_are_not(caplog, key):
    assert told(caplog, f"{LINEAR % ''}{key}: x\n") == []


def test_rules_beside_the_model(caplog):
    said = told(caplog, f"{LINEAR % ''}init_cfg: {{type: Normal, layer: Linear}}\n")
    assert said == [
        "Nothing reads the config's key 'init_cfg': rules stand in the model, model.init_cfg. (<text>.yaml:2)"
    ]


def test_rules_that_the_model_takes_from_a_variable(caplog):
    text = "init_cfg = dict(type='Normal', layer='Linear')\nmodel = dict(type='Linear', in_features=2, "
    assert told(caplog, f"{text}out_features=2, init_cfg=init_cfg)", ".py") == []


@pytest.mark.parametrize(
    ("text", "error", "problem", "meant"),
    [
        ("modle: {type: Linear}", errors.BuildError, "nor a key 'type', but a 'modle'", "model"),
        ("model: {typ: Linear}", errors.NoTypeError, "it has no 'type', but a 'typ'", "type"),
        (LINEAR % ", init_cfg: {typ: Normal}", errors.MissingTypeError, "no type, but a 'typ'", "type"),
    ],
)
def test_the_right_key_is_suggested_and_not_the_wrong_one(text, error, problem, meant):
    with pytest.raises(error, match=problem) as caught:
        initcfg.build(Config.fromstring(text, ".yaml"))
    assert caught.value.meant == (meant,)


def test_errors_of_a_config_have_its_line(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text("a: 1\nmodel:\n  type: Liner\n")
    with pytest.raises(errors.UnknownTypeError) as caught:
        initcfg.build(file)
    assert caught.value.where == "net.yaml:3"


def test_strict_has_its_line(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text(
        LINEAR % ", init_cfg: [\n  {type: Normal, layer: Linear},\n  {type: Normal, layer: Conv1d}]"
    )
    with pytest.raises(errors.UnusedRuleError) as caught:
        initcfg.build(file, strict=True)
    assert caught.value.where == "model.init_cfg[1] (net.yaml:3)"
    assert "model.init_cfg[1] (net.yaml:3): there is no Conv1d" in str(caught.value)


def test_a_name_without_its_library(tmp_path):
    with pytest.raises(errors.ConfigFileNotFoundError) as caught:
        initcfg.build(str(tmp_path / "resnet50"))
    assert "timm:resnet50, torchvision:resnet50 or hf:resnet50" in caught.value.fix


@pytest.mark.parametrize("key", ["val", "bias"])
def test_yes_is_no_number(key):
    with pytest.raises(errors.ArgumentError, match=f"{key} must be a number, not True") as caught:
        initcfg.plan(nn.Linear(2, 2), {"type": "Constant", "layer": "Linear", "val": 0, key: True})
    assert "YAML reads yes" in caught.value.fix


def test_yes_is_a_number_to_the_original():
    rule = {"type": "Constant", "layer": "Linear", "val": True, "bias": False}
    plan = initcfg.plan(nn.Linear(2, 2), rule, compat="mmengine")
    assert (plan["weight"].value, plan["bias"].value) == (Constant(1.0), Constant(0.0))


def test_the_last_part_of_a_name_suggests_a_glob():
    model = nn.ModuleDict({each: nn.ModuleDict({"bn2": nn.BatchNorm2d(2)}) for each in "ab"})
    with pytest.raises(errors.PatternError) as caught:
        initcfg.plan(model, dict(type="Constant", val=0, name="bn2"))
    assert caught.value.meant[0] == "*.bn2"
    rule = dict(type="Constant", val=0, name=caught.value.meant[0])
    assert initcfg.plan(model, rule)["a.bn2.weight"].rule == "init_cfg"


def test_plans_and_ledgers_in_one_line():
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear"))
    assert repr(plan) == "<Plan of 2 parameters, 1 rule>"
    assert repr(plan.apply(model, seed=3)) == "<Ledger of 2 tensors, seed 3>"
