"""Nothing is silent: each error names the rule, its place, the likely meaning, and the fix."""

from __future__ import annotations

import pytest
from torch import nn

import initcfg
from initcfg import errors


class Model(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        self.token = nn.Parameter(nn.Linear(2, 2).weight.detach())
        self.depth = 3


def fails(cfg, error, *texts, **options):
    with pytest.raises(error) as caught:
        initcfg.plan(Model(cfg), **options)
    for text in texts:
        assert text in str(caught.value), str(caught.value)
    return caught.value


def test_typo_in_layer():
    error = fails(
        [dict(type="Kaiming", layer="Linear"), dict(type="Kaiming", layer=["Conv2d", "Conv2D"])],
        errors.UnknownLayerError,
        "layer='Conv2D' names no module class",
        "model.init_cfg[1] (test_errors.py:",
        "'Conv2d'",
        "dict(type='Kaiming', layer=['Conv2d', 'Conv2D'])",
    )
    assert error.meant[0] == "Conv2d"
    fails(dict(type="Kaiming", layer="torch.nn.Conv2D"), errors.UnknownLayerError, "torch.nn.Conv2D")


def test_known_class_that_is_not_there_is_unused_and_an_error_under_strict():
    cfg = dict(type="Constant", val=1, layer="DeformConv2d")
    plan = initcfg.plan(Model(cfg))
    assert plan.unused[0].rule == "model.init_cfg"
    assert "no DeformConv2d at or below the model" in plan.unused[0].reason
    fails(cfg, errors.UnusedRuleError, "1 rule reached nothing", "no DeformConv2d", strict=True)


@pytest.mark.parametrize(
    ("key", "pattern", "meant"),
    [
        ("name", "haed", "head"),
        ("param", "*.weigth", "weight"),
        ("param", "tokens", "token"),
        ("exclude", "con", "conv"),
    ],
)
def test_pattern_that_matches_nothing(key, pattern, meant):
    cfg = dict(type="Constant", val=1, **{key: pattern})
    if key == "exclude":
        cfg["layer"] = "Conv2d"
    error = fails(cfg, errors.PatternError, f"{key}={pattern!r} matches nothing", "model.init_cfg")
    assert any(meant in name for name in error.meant)


def test_pattern_for_the_wrong_kind():
    fails(dict(type="Constant", val=1, name="head.weight"), errors.PatternError, "write param='head.weight'")
    fails(dict(type="Constant", val=1, param="*.running_mean"), errors.PatternError, "write buffer=")
    fails(dict(type="Constant", val=1, param="re:("), errors.PatternError, "not a valid regular expression")


def test_unknown_key():
    error = fails(dict(type="Normal", layer="Linear", sdt=1), errors.ArgumentError, "no argument 'sdt'")
    assert error.meant[0] == "std"
    error = fails(dict(type="Normal", layers="Linear"), errors.ArgumentError, "'layers'")
    assert error.meant[0] == "layer"


def test_override_of_a_missing_attribute():
    error = fails(
        dict(type="Constant", val=1, override=dict(name="haed")),
        errors.OverrideError,
        "names 'haed', but a Model has no such attribute",
        "model.init_cfg.override",
    )
    assert error.meant == ("head",)
    fails(
        dict(type="Constant", val=1, override=dict(name="head.weight")),
        errors.OverrideError,
        "direct attribute",
    )
    fails(
        dict(type="Constant", val=1, override=dict(name="depth")),
        errors.OverrideTargetError,
        "of type int",
    )


def test_override_forms_that_are_invalid():
    fails(
        dict(type="Constant", val=1, override=dict(type="Constant", val=3)),
        errors.OverrideError,
        "has no name",
    )
    fails(
        dict(type="Constant", val=1, override=dict(name="head", val=3, bias=4)),
        errors.OverrideError,
        "gives 'val', 'bias' but no type",
        "'head'",
    )
    fails(
        dict(type="Constant", val=1, override="head"),
        errors.RuleTypeError,
        "override must be a dict or a list",
    )
    nested = dict(type="Constant", val=1, name="head", override=dict(name="x"))
    fails(dict(type="Constant", val=1, override=nested), errors.RuleTypeError, "cannot hold another override")


def test_types():
    fails("Kaiming", errors.RuleTypeError, "An init_cfg is a dict or a list of dicts, not the text 'Kaiming'")
    fails(["Kaiming"], errors.RuleTypeError, "model.init_cfg[0]")
    fails(dict(layer="Linear"), errors.MissingTypeError, "has no type")
    fails(dict(type="Kaimming", layer="Linear"), errors.UnknownInitializerError, "'Kaiming'")
    fails(dict(type="ConstantInit", val=1, layer="Linear"), errors.UnknownInitializerError, "'Constant'")
    fails(dict(type=3, layer="Linear"), errors.RuleTypeError, "type must be")
    fails(dict(type="Constant", val=1, layer=3), errors.RuleTypeError, "layer must be")
    fails(
        dict(type="Constant", val=1, layer=("Linear",)),
        errors.RuleTypeError,
        "layer must be",
        compat="mmengine",
    )
    with pytest.raises(errors.RuleTypeError):
        initcfg.plan(Model(), "Kaiming")
    with pytest.raises(errors.RuleTypeError):
        initcfg.initialize(nn.Linear(1, 1), (dict(type="Constant", val=1),))


@pytest.mark.parametrize(
    ("cfg", "text"),
    [
        (dict(type="Constant", layer="Linear"), "'val'"),
        (dict(type="Constant", layer="Linear", val="one"), "val must be a number"),
        (dict(type="Normal", layer="Linear", std=-1), "std is -1"),
        (dict(type="Xavier", layer="Linear", distribution="gauss"), "distribution"),
        (dict(type="Kaiming", layer="Linear", mode="fan"), "fan_in"),
        (dict(type="Kaiming", layer="Linear", nonlinearity="rel"), "nonlinearity='rel'"),
        (dict(type="Constant", layer="Linear", val=1, bias=[1]), "bias"),
        (dict(type="Constant", layer="Linear", val=1, bias_prob=1), "bias_prob must be a float"),
        (dict(type="Constant", layer="Linear", val=1, bias_prob=0.0), "strictly between 0 and 1"),
        (dict(type="Uniform", layer="Linear", a=2, b=1), "lies above"),
        (dict(type="TruncNormal", layer="Linear", a=1, a_sigma=-2), "not both"),
        (dict(type="TruncNormal", layer="Linear", preserve_std=True), "a_sigma"),
        (dict(type="Caffe2Xavier", layer="Linear", a=1), "'a'"),
        (dict(type="Normal", param="token", bias=1), "one by one"),
        (dict(type="Pretrained", checkpoint="x", layer="Linear"), "whole modules"),
        (dict(type="Pretrained", checkpoint=None), "checkpoint must be a path"),
    ],
)
def test_arguments(cfg, text):
    fails(cfg, errors.RuleError, text, "model.init_cfg")


def test_fans_of_a_vector_name_the_parameter():
    error = fails(
        dict(type="Xavier", layer="BatchNorm2d"), errors.FanError, "norm.weight, shape (4,)", "model.init_cfg"
    )
    assert error.parameter == "norm.weight"
    fails(dict(type="Kaiming", override=dict(name="norm")), errors.FanError, "model.init_cfg.override")


def test_lazy_module():
    with pytest.raises(errors.LazyParameterError, match="Run one batch"):
        initcfg.plan(nn.Sequential(nn.LazyLinear(3)), dict(type="Normal", layer="Linear"))


def test_old_weight_norm():
    with pytest.warns(FutureWarning):
        linear = nn.utils.weight_norm(nn.Linear(2, 2))
    with pytest.raises(errors.TensorError, match=r"parametrizations\.weight_norm"):
        initcfg.plan(linear, dict(type="Normal", layer="Linear"))


def test_integer_parameter():
    model = nn.Module()
    model.register_parameter("table", nn.Parameter(nn.Linear(2, 2).weight.int(), requires_grad=False))
    with pytest.raises(errors.TensorError, match="floating-point"):
        initcfg.plan(model, dict(type="Normal", param="table"))
    initcfg.init_weights(model, dict(type="Constant", val=2, param="table"))
    assert model.table.unique().item() == 2


def test_extensions_are_refused_under_compat():
    fails(dict(type="Normal", name="head"), errors.ArgumentError, "extension", compat="mmengine")
    fails(dict(type="Normal", layer="Linear", bias=None), errors.RuleError, "bias", compat="mmengine")


def test_names_of_the_original_builtin_errors_still_catch():
    for cfg, builtin in [
        (dict(layer="Linear"), KeyError),
        (dict(type="Nothing"), KeyError),
        (dict(type="Constant"), TypeError),
        (dict(type="Constant", val=1, override=dict(name="x")), RuntimeError),
        (dict(type="Constant", val=1, override=dict(val=1)), ValueError),
    ]:
        with pytest.raises(builtin):
            initcfg.plan(Model(cfg))


def test_what_was_meant_is_quoted_once_and_a_sentence_ends_once():
    error = errors.PlanError("It said: no module..", meant=["rename={'a\\.': 'b.'} would fit", "a b"])
    assert error.problem == "It said: no module."
    assert "did you mean: rename={'a\\.': 'b.'} would fit, 'a b'" in str(error)
    assert errors.PlanError("a, b, ...").problem == "a, b, ..."
