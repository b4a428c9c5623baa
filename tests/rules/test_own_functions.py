"""Functions and objects of one's own as initializers, and what is said where they are not complete."""

from __future__ import annotations

import functools
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg import INITIALIZERS, errors
from initcfg.values import Constant, Normal


def fan_sum(tensor: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    with torch.no_grad():
        return tensor.normal_(0, gain * sum(tensor.shape) ** -0.5)


def odd(tensor, std):
    tensor.copy_(torch.from_numpy(np.random.standard_normal(tuple(tensor.shape)) * std))


def twice(tensor):
    """Two draws make a weight: no value has a name for that."""
    tensor.normal_().mul_(tensor.new_empty(tensor.shape).uniform_(0.5, 2.0))


def small(module: nn.Module, std: float = 0.5) -> None:
    nn.init.normal_(module.weight, std=std)
    nn.init.constant_(module.bias, 3.0)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8))


def test_a_function_of_a_tensor_is_a_value() -> None:
    plan = initcfg.plan(model(), dict(type=fan_sum, layer="Linear", gain=2.0))
    assert plan["0.weight"].value == Normal(0.0, 0.5)
    assert plan["0.bias"].value == Constant(0.0)
    assert plan["0.weight"].initializer == {"type": "fan_sum", "gain": 2.0, "bias": 0}
    assert plan["0.weight"].rule == "init_cfg"
    assert initcfg.Plan.from_json(plan.to_json())["0.weight"] == plan["0.weight"]


def test_its_numbers_are_those_of_the_name() -> None:
    by_function, by_name = model(), model()
    initcfg.init_weights(by_function, dict(type=fan_sum, layer="Linear"), seed=3)
    initcfg.init_weights(by_name, dict(type="Normal", layer="Linear", std=0.25), seed=3)
    assert torch.equal(by_function[1].weight, by_name[1].weight)
    assert not torch.equal(by_function[0].weight, by_function[1].weight)


@pytest.mark.parametrize(
    ("function", "given", "like"),
    [
        (nn.init.normal_, dict(std=0.3), dict(type="Normal", std=0.3)),
        (nn.init.xavier_uniform_, {}, dict(type="Xavier", distribution="uniform")),
        (nn.init.trunc_normal_, dict(std=0.02), dict(type="TruncNormal", std=0.02)),
        (nn.init.orthogonal_, dict(gain=2), dict(type="Orthogonal", gain=2)),
        (nn.init.zeros_, {}, dict(type="Constant", val=0)),
        ("torch.nn.init.kaiming_normal_", dict(mode="fan_out"), dict(type="Kaiming", mode="fan_out", a=0)),
        (functools.partial(nn.init.normal_, std=0.3), {}, dict(type="Normal", std=0.3)),
        (torch.Tensor.normal_, dict(std=0.3), dict(type="Normal", std=0.3)),
        (lambda t: t.normal_(std=0.3), {}, dict(type="Normal", std=0.3)),
        (lambda t: torch.full_like(t, 0.3), {}, dict(type="Constant", val=0.3)),
    ],
)
def test_functions_of_torch_and_others(function, given, like) -> None:
    plan = initcfg.plan(nn.Linear(4, 6), dict(type=function, layer="Linear", **given))
    same = initcfg.plan(nn.Linear(4, 6), dict(layer="Linear", **like))
    assert str(plan["weight"].value) == str(same["weight"].value)


def test_what_has_no_name_is_a_formula_that_comes_again() -> None:
    plan = initcfg.plan(nn.Linear(64, 64), dict(type=twice, param="weight"))
    assert plan["weight"].value.kind == "Formula"
    first, again = nn.Linear(64, 64), nn.Linear(64, 64)
    plan.apply(first, seed=1)
    initcfg.plan(again, dict(type=twice, param="weight")).apply(again, seed=1)
    assert torch.equal(first.weight, again.weight)
    assert 0.9 < float(first.weight.detach().std() / 1.75**0.5) < 1.1


def test_parts_and_padding_rows() -> None:
    attention = nn.MultiheadAttention(4, 2)
    plan = initcfg.plan(attention, dict(type=nn.init.xavier_uniform_, layer="MultiheadAttention"))
    same = initcfg.plan(attention, dict(type="Xavier", distribution="uniform", layer="MultiheadAttention"))
    assert plan["in_proj_weight"].value == same["in_proj_weight"].value
    table = initcfg.plan(nn.Embedding(5, 2, padding_idx=1), dict(type=fan_sum, layer="Embedding"))
    assert str(table["weight"].value).endswith("row 1 zero")


def test_a_function_that_is_no_value_runs_and_its_plan_says_so() -> None:
    plan = initcfg.plan(model(), dict(type=odd, name="1", layer="Linear", std=0.1))
    assert plan["1.weight"].value.kind == "Opaque"
    assert "odd" in str(plan["1.weight"].value) and "NumPy" in " ".join(plan.notes)
    assert plan["1.bias"].value == Constant(0.0)
    made = model()
    before = made[0].weight.clone()
    np.random.seed(4)
    ledger = plan.apply(made, seed=0)
    np.random.seed(4)
    expected = torch.from_numpy(np.random.standard_normal((8, 8)) * 0.1).float()
    assert torch.equal(made[1].weight, expected) and torch.equal(made[0].weight, before)
    assert ledger["1.weight"].code == "function odd"
    with pytest.raises(errors.ApplyError, match=r"1\.weight|code"):
        initcfg.Plan.from_json(plan.to_json()).apply(model(), seed=0)


def test_a_function_of_a_module() -> None:
    plan = initcfg.plan(model(), dict(type=small, layer="Linear", std=0.25))
    assert plan["0.weight"].value == Normal(0.0, 0.25) and plan["1.bias"].value == Constant(3.0)
    assert plan["2.weight"].value.kind == "Keep"
    first, second = model(), model()
    plan.apply(first, seed=2)
    initcfg.init_weights(second, dict(type="Normal", layer="Linear", std=0.25), seed=2)
    assert torch.equal(first[1].weight, second[1].weight)
    assert first[1].bias.tolist() == [3.0] * 8


@pytest.mark.parametrize(
    ("selection", "reached"),
    [
        (dict(name="1"), {"1"}),
        (dict(layer="Linear", exclude="0"), {"1"}),
        (dict(layer=["Linear", "BatchNorm1d"]), {"0", "1", "2"}),
        (dict(name=["0", "2"]), {"0", "2"}),
    ],
)
def test_a_function_of_modules_is_called_with_those_that_are_selected(selection, reached) -> None:
    plan = initcfg.plan(model(), dict(type=small, **selection))
    assert {name.partition(".")[0] for name, item in plan.items() if item.rule} == reached


def test_a_function_of_the_whole_model_and_an_override() -> None:
    def whole(model):
        for each in model.modules():
            if isinstance(each, nn.Linear):
                each.weight.fill_(2.0)

    plan = initcfg.plan(model(), dict(type=whole))
    assert [plan[name].value for name in ("0.weight", "1.weight")] == [Constant(2.0)] * 2
    plan = initcfg.plan(
        model(), dict(type="Constant", layer="Linear", val=1, override=dict(name="1", type=small))
    )
    assert plan["0.weight"].value == Constant(1.0) and plan["1.weight"].value == Normal(0.0, 0.5)


def test_a_function_of_modules_that_reaches_nothing_is_listed_and_a_typo_refused() -> None:
    assert initcfg.plan(model(), dict(type=small, layer="Conv2d")).unused
    with pytest.raises(errors.InitcfgError) as caught:
        initcfg.plan(model(), dict(type=small, layer="Liner"))
    assert "Linear" in caught.value.meant
    with pytest.raises(errors.InitcfgError) as caught:
        initcfg.plan(model(), dict(type=small, name="4"))
    assert "name='4'" in str(caught.value)


def test_registered_functions_and_dotted_paths(tmp_path, monkeypatch) -> None:
    (tmp_path / "own_inits.py").write_text(
        textwrap.dedent("""
        from __future__ import annotations
        import torch
        from torch import Tensor

        def annotated(tensor: torch.Tensor, std: float = 1.0) -> Tensor:
            return tensor.normal_(0, std)

        def bare(tensor, std=1.0):
            return tensor.normal_(0, std)

        def writes_files(tensor: torch.Tensor, path: str) -> None:
            open(path, "w").close()
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "net.yaml").write_text(
        "model: {type: Linear, in_features: 2, out_features: 2,\n"
        "  init_cfg: {type: own_inits.annotated, layer: Linear, std: 0.5}}\n"
    )
    built = initcfg.build(str(tmp_path / "net.yaml"), seed=0)
    expected = nn.Linear(2, 2)
    initcfg.init_weights(expected, dict(type="Normal", layer="Linear", std=0.5), seed=0)
    assert torch.equal(built.weight, expected.weight)
    for name in ("bare", "writes_files"):
        with pytest.raises(errors.UnknownInitializerError, match="is no initializer") as caught:
            initcfg.plan(nn.Linear(2, 2), dict(type=f"own_inits.{name}", layer="Linear"))
        assert "register_module" in str(caught.value.fix) and "-> torch.Tensor" in str(caught.value.fix)
        (tmp_path / "net.yaml").write_text(
            "model: {type: Linear, in_features: 2, out_features: 2,\n"
            f"  init_cfg: {{type: own_inits.{name}, layer: Linear, path: {tmp_path}/x}}}}\n"
        )
        with pytest.raises(errors.InitcfgError):
            initcfg.build(str(tmp_path / "net.yaml"))
    assert not (tmp_path / "x").exists()
    INITIALIZERS.register_module("Bare", module=sys.modules["own_inits"].bare)
    try:
        plan = initcfg.plan(nn.Linear(2, 2), dict(type="Bare", layer="Linear", std=0.5))
        assert plan["weight"].value == Normal(0.0, 0.5)
        assert plan["weight"].initializer["type"] == "Bare"
    finally:
        del INITIALIZERS.module_dict["Bare"]


def test_a_stranger_names_no_function(tmp_path) -> None:
    (tmp_path / "net.yaml").write_text(
        "model: {type: Linear, in_features: 2, out_features: 2,\n"
        "  init_cfg: {type: torch.nn.init.zeros_, layer: Linear}}\n"
    )
    with pytest.raises(errors.UntrustedError):
        initcfg.build(str(tmp_path / "net.yaml"), untrusted=True)


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: [one], lambda one: dict(type=one, layer="Linear")]
)
def test_an_initializer_as_an_object(wrap) -> None:
    given = initcfg.NormalInit(std=0.5, bias=2, layer="Linear")
    plan = initcfg.plan(model(), wrap(given))
    assert plan["0.weight"].value == Normal(0.0, 0.5) and plan["1.bias"].value == Constant(2.0)
    assert plan["2.weight"].value.kind == "Keep"
    assert plan["0.weight"].initializer == {"type": "Normal", "mean": 0, "std": 0.5, "bias": 2}


def test_an_object_takes_no_further_arguments() -> None:
    with pytest.raises(errors.ArgumentError, match="has its arguments already, and the rule gives it 'std'"):
        initcfg.plan(model(), dict(type=initcfg.NormalInit(std=0.5), layer="Linear", std=1))


class Forgot(initcfg.BaseInit):
    def __init__(self, std: float) -> None:
        self.std = std

    def value(self, layout):
        return Normal(0.0, self.std)


class Empty(initcfg.BaseInit):
    pass


@pytest.mark.parametrize(
    ("rule", "problem", "fix"),
    [
        (
            dict(type=Forgot, std=1),
            "Forgot.__init__ does not call that of BaseInit",
            "super().__init__(**kwargs)",
        ),
        (dict(type=Empty), "Empty has no method value(layout)", "def value(self, layout)"),
        (dict(type=fan_sum, gian=2), "fan_sum takes no argument 'gian'", "It takes gain"),
        (dict(type=odd), "odd: missing a required argument: 'std'", "It takes std"),
        (dict(type=lambda t: None), "<lambda> leaves the tensor as it is", "in place"),
        (
            dict(type=lambda t: 1 / 0),
            "<lambda> raised ZeroDivisionError: division by zero (test_own_fun",
            "Mend",
        ),
        (dict(type=lambda t: t.weight), "has no attribute 'weight'", "def <lambda>(module: nn.Module)"),
        (dict(type=nn.Linear), "something of torch's own", "function of torch.nn.init"),
        (dict(type="normal_"), "names no initializer", "register"),
        (dict(type="Kaiming", nonlinearity="rleu"), "nonlinearity='rleu'", "'relu', 'leaky_relu'"),
    ],
)
def test_what_is_wrong_is_said(rule, problem, fix) -> None:
    with pytest.raises(errors.InitcfgError) as caught:
        initcfg.plan(model(), dict(rule, layer="Linear"))
    assert problem in str(caught.value) and fix in str(caught.value)
    assert str(caught.value.where).startswith("init_cfg (test_own_functions.py:") and caught.value.rule
    if rule["type"] is fan_sum:
        assert caught.value.meant == ("gain",)
    if rule["type"] == "normal_":
        assert "torch.nn.init.normal_" in caught.value.meant
