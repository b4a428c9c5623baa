"""Rules by role, with a scale and multipliers; schemes: what every tensor gets, and the errors."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from role_rules import GPT, ROLES, Block, L, planned
from torch import nn

import initcfg
from initcfg import INITIALIZERS, Ledger, Plan, Scheme
from initcfg.errors import (
    ArgumentError,
    ArgumentValueError,
    FanError,
    OverrideError,
    PlanError,
    RoleError,
    RuleError,
    UnknownLayerError,
    UnusedRuleError,
)
from initcfg.values import Constant, Normal, Orthogonal, Uniform


def test_gpt2() -> None:
    plan = planned(dict(type="GPT2"))
    assert plan["h.3.attn.c_proj.weight"].value == Normal(0.0, 0.02 * (1 / math.sqrt(2 * L)))
    assert f"{plan['h.3.mlp.c_proj.weight'].value.args['std']:.7f}" == "0.0040825"
    assert plan["h.3.mlp.c_fc.weight"].value == plan["wte.weight"].value == Normal(0.0, 0.02)
    assert plan["h.3.mlp.c_proj.bias"].value == Constant(0.0)
    assert plan["ln_f.weight"].value == Constant(1.0)
    assert not plan.unused and plan["h.3.attn.c_proj.weight"].rule == "init_cfg[0].GPT2[2]"


def test_a_scheme_is_one_rule_of_its_owner() -> None:
    """What stands later in the list beats it, as does a child's rule."""
    later = dict(type="Constant", param="h.0.attn.c_proj.weight", val=3)
    assert planned(dict(type="GPT2"), later)["h.0.attn.c_proj.weight"].value == Constant(3.0)
    assert planned(later, dict(type="GPT2"))["h.0.attn.c_proj.weight"].value == Normal(0.0, 0.02 / 24**0.5)
    model = GPT(init_cfg=dict(type="GPT2"), block_cfg=dict(type="Constant", layer="Linear", val=5))
    plan = initcfg.plan(model, roles=ROLES)
    assert plan["h.0.attn.c_proj.weight"].value == Constant(5.0)
    assert plan["wte.weight"].value == Normal(0.0, 0.02)


def test_explain_shows_the_numbers() -> None:
    text = planned(dict(type="GPT2")).explain("h.3.attn.c_proj.weight")
    assert (
        "std          0.0040825 = 0.02 · 1/sqrt(2·12)\nrole         residual_out (declared), layer 3 of 12\n"
        in text
    )
    assert "Rules above it that do not reach it:\n  init_cfg[0].GPT2[1]" in text
    summed = planned(dict(type="Uniform", role="mlp_in", a=-1, b=1, scale="1 + layer"))
    assert "b            4 = 1 · (1 + 3)\nrole         mlp_in (declared), layer 3 of 12" in summed.explain(
        "h.3.mlp.c_fc.weight"
    )


def test_role_selects_one_by_one_and_narrows() -> None:
    plan = planned(dict(type="Constant", role=["mlp_*", "residual_out"], name="h.1*", val=2))
    reached = [name for name, item in plan.items() if item.rule is not None]
    assert reached == [
        f"h.{i}.{name}.weight" for i in (1, 10, 11) for name in ("attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    plan = planned(dict(type="Constant", role="residual_out", param="*.mlp.*", exclude="h.0", val=2))
    reached = [name for name, item in plan.items() if item.rule is not None]
    assert reached == [f"h.{i}.mlp.c_proj.weight" for i in range(1, L)]
    plan = planned(dict(type="Constant", role="*", layer="Embedding", val=2))
    assert [name for name, item in plan.items() if item.rule is not None] == ["wte.weight"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (dict(type="Normal", std=1, mean=2, scale="1/(layer+1)"), Normal(0.5, 0.25)),
        (dict(type="Uniform", a=-1, b=1, scale="residuals/layers"), Uniform(-2.0, 2.0)),
        (dict(type="Constant", val=1, scale="1/fan_in"), Constant(1 / 8)),
        (dict(type="Orthogonal", scale="1/sqrt(fan_out/fan_in)"), Orthogonal(1 / 2)),
        (dict(type="Normal", std=1, scale=0.5), Normal(0.0, 0.5)),
        (dict(type="Kaiming", scale="layers"), Normal(0.0, math.sqrt(2) / math.sqrt(32) * 12)),
        (dict(type="VarianceScaling", scale=4.0, distribution="normal"), Normal(0.0, math.sqrt(4 / 8))),
        (dict(type="VarianceScaling", scale="4", distribution="normal"), Normal(0.0, math.sqrt(1 / 8) * 4)),
    ],
)
def test_scale_multiplies_what_is_drawn(rule: dict[str, Any], expected: Any) -> None:
    assert planned(rule | {"role": "mlp_in"})["h.3.mlp.c_fc.weight"].value == expected


def test_scale_is_for_what_type_fills() -> None:
    plan = planned(
        dict(type="Normal", layer="Linear", std=1, bias=2, scale="1/sqrt(fan_in)", tune=dict(lr="1/fan_in"))
    )
    assert plan["h.0.mlp.c_proj.weight"].value == Normal(0.0, 1 / math.sqrt(32))
    assert plan["h.0.mlp.c_proj.bias"].value == Constant(2)
    assert (plan["h.0.mlp.c_proj.weight"].tune, plan["h.0.mlp.c_proj.bias"].tune) == ({"lr": 1 / 32}, {})


def test_tune_is_in_the_plan_and_everywhere() -> None:
    rule = dict(type="Normal", role="mlp_in", std=1)
    without, plan = (
        planned(rule),
        planned(rule | {"tune": dict(lr="2/fan_in", weight_decay="fan_in/2", eps=1)}),
    )
    name = "h.0.mlp.c_fc.weight"
    assert plan[name].tune == {"lr": 0.25, "weight_decay": 4.0, "eps": 1.0}
    assert "Normal(mean=0, std=1), lr ×0.25, wd ×4, eps ×1" in str(plan)
    assert "optimizer    lr ×0.25, wd ×4, eps ×1" in plan.explain(name)
    assert plan.digest != without.digest and list(plan.diff(without)) == [
        f"h.{i}.mlp.c_fc.weight" for i in range(L)
    ]
    model = GPT()
    ledger = plan.apply(model, seed=0)
    assert ledger[name].tune == plan[name].tune
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan and again.digest == plan.digest and again[name] == plan[name]
    assert again.apply(GPT(), seed=0)[name].tune == plan[name].tune == ledger.plan[name].tune
    assert "tune" not in without.to_json()["parameters"][name]


def test_a_plan_is_copied_and_pickled_with_its_roles() -> None:
    plan = planned(dict(type="GPT2"))
    for again in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert again == plan and again.digest == plan.digest
    assert pickle.loads(pickle.dumps(initcfg.plan(nn.Linear(2, 2)))) == initcfg.plan(nn.Linear(2, 2))


def test_facts_go_through_json() -> None:
    plan = planned(dict(type="GPT2"))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    name = "h.3.attn.c_proj.weight"
    assert again == plan and again[name].scaling == plan[name].scaling and again[name].role == plan[name].role
    assert again.explain(name).split("Rules above")[0].count("1/sqrt(2·12)") == 1


def test_an_override_has_a_scale_of_its_own_or_that_of_its_rule() -> None:
    model = GPT(
        init_cfg=dict(type="Constant", layer="Embedding", val=4, scale="1/2", override=dict(name="ln_f"))
    )
    plan = initcfg.plan(model)
    assert (plan["wte.weight"].value, plan["ln_f.weight"].value) == (Constant(2.0), Constant(2.0))
    own = dict(name="wte", type="Normal", std=1, scale="1/sqrt(fan_in)")
    model = GPT(init_cfg=dict(type="Constant", layer="Linear", val=4, override=own))
    assert initcfg.plan(model)["wte.weight"].value == Normal(0.0, 1 / math.sqrt(8))


@pytest.mark.parametrize(
    ("rule", "error", "says"),
    [
        (dict(type="Normal", role="residual_uot"), RoleError, "names no role"),
        (
            dict(type="Normal", role="head"),
            RoleError,
            "No tensor has the role 'head': of GPT; there are embedding",
        ),
        (
            dict(type="Normal", role="mlp_in", scale="base_width"),
            RoleError,
            "needs base_width, which is not known",
        ),
        (dict(type="Normal", role="mlp_in", scale="heads"), RoleError, "needs heads, which is not known"),
        (dict(type="Normal", role="embedding", scale="layer"), RoleError, "needs layer, which is not known"),
        (dict(type="Normal", layer="LayerNorm", scale="fan_in"), FanError, "Fans need"),
        (
            dict(type="Normal", role="mlp_in", scale="1/layer"),
            ArgumentValueError,
            "division by zero (here layer 0)",
        ),
        (
            dict(type="Normal", role="mlp_in", tune=dict(lr="0-1")),
            ArgumentValueError,
            "no multiplier is below 0",
        ),
        (
            dict(type="Normal", role="mlp_in", tune=dict(momentum=1)),
            ArgumentError,
            "tune knows no 'momentum'",
        ),
        (dict(type="Normal", role="mlp_in", bias=1), ArgumentError, "select tensors one by one"),
        (dict(weight=dict(type="Normal"), layer="Linear", scale=2), ArgumentError, "this rule has no type"),
        (
            dict(type="Pretrained", checkpoint="a.pth", scale=2),
            ArgumentError,
            "Pretrained writes tensors itself",
        ),
        (dict(type="GPT2", role="mlp_in"), ArgumentError, "takes no role"),
        (dict(type="GPT2", scale=2), ArgumentError, "takes no scale"),
        (dict(type="GPT2", forward=True), ArgumentValueError, "forward must be 'done'"),
        (dict(type="GPT2", sdt=1), ArgumentError, "takes no argument 'sdt'"),
        (dict(type="GPT2", override=dict(name="wte")), OverrideError, "holds no override"),
        (dict(type="Normal", layer="Lineax"), UnknownLayerError, "names no module class"),
    ],
)
def test_errors(rule: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        planned(rule)
    assert any(each in str(caught.value) for each in says.split("|"))
    assert "init_cfg[0]" in str(caught.value) and "fix:" in str(caught.value)


def test_an_unknown_role_has_its_nearest() -> None:
    with pytest.raises(RoleError) as caught:
        planned(dict(type="Normal", role="residual_uot"))
    assert caught.value.meant[0] == "residual_out" and "attn_qkv" in str(caught.value.fix)


def test_a_scheme_needs_its_roles() -> None:
    with pytest.raises(RoleError, match="No tensor has the role 'residual_out': 0 residual adds seen in GPT"):
        planned(dict(type="GPT2"), roles={"blocks": "h"})


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        ({"residual_uot": "*"}, "is no role"),
        ({"residual_out": "nothing"}, "matches no parameter"),
        ({"residual_out": 3}, "must be a glob"),
        ({"blocks": "no.such"}, "names no module"),
        ({"layers": 0}, "must be a whole number above 0"),
        (3, "roles must be"),
    ],
)
def test_what_is_declared_is_checked(roles: Any, says: str) -> None:
    with pytest.raises(RoleError, match=says):
        planned(dict(type="GPT2"), roles=roles)


class Halved(Scheme):
    """Half of a scheme."""

    forward = "the model must compute norm(2·x + f(x))."

    def __init__(self, layer: str = "Linear") -> None:
        self.layer = layer

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Constant", layer=[self.layer, "NoSuchLayer"], val=1),
            dict(type="Constant", role="head", val=2),
            dict(type="GPT2", std=0.5),
        ]


@pytest.fixture(autouse=True)
def halved() -> Any:
    INITIALIZERS.register_module(name="Halved", module=Halved, force=True)
    yield
    INITIALIZERS.module_dict.pop("Halved", None)


def test_a_forward_half_is_a_note_and_under_strict_an_error() -> None:
    plan = planned(dict(type="Halved"))
    note = "init_cfg[0]: Halved is half done by initial weights: the model must compute norm(2·x + f(x))."
    assert plan.notes == (note,) and not plan.unused
    assert plan["wte.weight"].rule == "init_cfg[0].Halved[2].GPT2[0]"
    with pytest.raises(
        UnusedRuleError, match="strict=True does not allow a scheme of which a half is missing"
    ):
        planned(dict(type="Halved"), strict=True)
    assert planned(dict(type="Halved", forward="done"), strict=True).notes == ()


def test_a_scheme_that_reaches_nothing_is_unused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3))

    class Nothing(Scheme):
        def recipe(self) -> list[dict[str, Any]]:
            return [dict(type="Constant", layer="Linear", val=1), dict(type="Constant", param="*.x", val=1)]

    plan = initcfg.plan(model, dict(type=Nothing))
    assert [(each.rule, each.reason) for each in plan.unused] == [
        ("init_cfg", "no part of it reaches anything")
    ]
    with pytest.raises(UnusedRuleError):
        initcfg.plan(model, dict(type=Nothing), strict=True)


def test_a_scheme_is_narrowed_by_name_and_exclude() -> None:
    plan = planned(dict(type="GPT2", exclude="h.1"), dict(type="Constant", layer="Linear", name="h.0", val=1))
    assert plan["h.1.attn.c_proj.weight"].rule is None and plan["h.0.mlp.c_fc.weight"].value == Constant(1.0)
    plan = planned(dict(type="GPT2", name="h.2"))
    assert {name.split(".")[1] for name, item in plan.items() if item.rule is not None} == {"2"}


def test_compat_refuses_extensions() -> None:
    for rule in (
        dict(type="Normal", layer="Linear", scale="2"),
        dict(type="Normal", role="mlp_in"),
        dict(type="Normal", layer="Linear", tune=dict(lr=1)),
        dict(type="GPT2"),
    ):
        with pytest.raises(ArgumentError, match="does not know"):
            planned(rule, compat="mmengine")


def test_guesses_do_not_scale_unless_asked() -> None:
    class Guessed(nn.Module):
        """No forward pass shows anything."""

        def __init__(self) -> None:
            super().__init__()
            self.h = nn.ModuleList(Block() for _ in range(2))

    from initcfg._model import Roles, TensorRole
    from initcfg._plan.planner import RoleRequest, make_plan
    from initcfg._rules import Compiler

    model = Guessed()
    known = Roles({"h.0.attn.c_proj.weight": TensorRole(("residual_out",), "guessed", 0)}, layers=2)
    rule = dict(type="Normal", role="residual_out", std=1, scale="1/layers")

    def made(rule: dict[str, Any], declared: Any) -> Plan:
        program = Compiler(model, compat=False).run(rule)
        return make_plan(model, program, compat=False, roles=RoleRequest(declared, known=lambda: known))

    with pytest.raises(RoleError, match="was guessed from its name, and the rule scales by role"):
        made(rule, None)
    assert made(rule, "names")["h.0.attn.c_proj.weight"].value == Normal(0.0, 0.5)
    assert made(rule | {"scale": 1}, "names")["h.0.attn.c_proj.weight"].role.how == "guessed"  # type: ignore[union-attr]


# -- what is wrong ---------------------------------------------------------------------------------


class Itself(Scheme):
    def recipe(self) -> list[dict[str, Any]]:
        return [dict(type=Itself)]


class Failing(Scheme):
    def recipe(self) -> list[dict[str, Any]]:
        raise ZeroDivisionError("no number")


class NoList(Scheme):
    def recipe(self) -> Any:
        return 5


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        (Itself, "holds schemes more than 8 deep"),
        (Failing, "Failing has no recipe: ZeroDivisionError: no number"),
        (NoList, "The recipe of NoList is 5, and should be a list"),
        (Scheme, "Scheme has no recipe: NotImplementedError"),
    ],
)
def test_a_wrong_recipe_is_said(scheme: type[Scheme], says: str) -> None:
    with pytest.raises(RuleError, match=says):
        planned(dict(type=scheme))


def test_what_is_not_given_is_none_and_numbers_of_numpy_are_numbers() -> None:
    rule = dict(type="Normal", layer="Linear", std=1, scale=None, tune=None, role=None)
    assert planned(rule)["h.0.mlp.c_fc.weight"].value == Normal(0.0, 1.0)
    scaled = planned(rule | {"scale": np.float32(0.25)})["h.0.mlp.c_fc.weight"]
    assert scaled.value == Normal(0.0, 0.25) and scaled.scaling is not None and scaled.scaling.text == "0.25"


@pytest.mark.parametrize(
    "tune", [{"lr": "nan"}, {"lr": -1.0}, {"lr": "inf"}, {"momentum": 1.0}, {"optimizer": "x"}]
)
def test_a_strangers_multipliers_are_checked(tune: dict[str, Any]) -> None:
    plan = planned(dict(type="Normal", role="mlp_in", tune=dict(lr=2)))
    data = json.loads(json.dumps(plan.to_json()))
    data["parameters"]["h.0.mlp.c_fc.weight"]["tune"] = tune
    with pytest.raises(PlanError, match="multiplier"):
        Plan.from_json(data)
    ledger = json.loads(json.dumps(plan.apply(GPT(), seed=0).to_json()))
    ledger["tensors"]["h.0.mlp.c_fc.weight"]["tune"] = tune
    with pytest.raises(PlanError, match="multiplier"):
        Ledger.from_json(ledger)


def test_the_optimizer_of_multipliers_goes_through_the_ledger() -> None:
    rule = dict(type="Normal", role="mlp_in", tune=dict(lr=2, optimizer="adamw"))
    ledger = planned(rule).apply(GPT(), seed=0)
    again = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert again == ledger and again["h.0.mlp.c_fc.weight"].tune == {"lr": 2.0, "optimizer": "adamw"}


def test_a_failing_function_of_roles_is_said() -> None:
    def wrong(name: str) -> Any:
        return 1 / 0

    with pytest.raises(RoleError, match="roles='wrong' failed: ZeroDivisionError"):
        planned(dict(type="Normal", role="mlp_in"), roles=wrong)
