"""Plans and ledgers from strangers: read whole, or refused with the place of the fault."""

from __future__ import annotations

import copy
import functools
import json
import math
import struct
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors
from initcfg.values import Constant, Normal, Parts

RULE = dict(type="Normal", layer="Linear", std=0.1)
PLAN = initcfg.plan(nn.Linear(8, 8), RULE).to_json()
LEDGER = initcfg.init_weights(nn.Linear(8, 8), RULE, seed=0).to_json()
NORMAL = {"kind": "Normal", "mean": 0.0, "std": 1.0}


def changed(data: dict, path: str, item: object) -> dict:
    """The data with another item at a path such as ``"parameters/weight/dtype"``."""
    data = copy.deepcopy(data)
    *steps, last = path.split("/")
    functools.reduce(lambda at, step: at[step], steps, data)[last] = item
    return data


def parts(**fields: object) -> dict:
    return {"kind": "Parts", "dim": 0, "sizes": [4, 4], "values": [NORMAL, NORMAL], **fields}


def adapted(*steps: object) -> dict:
    return {"kind": "Adapted", "source": "a.pth", "key": "w", "steps": list(steps), "others": []}


STEPS = {
    "steps[0][0]": ["melt"],
    "steps[0][0] ": [5],
    "steps[0][0]  ": [["grow", "mean", 8]],
    "steps[0]": [],
    "steps[0] ": ["narrow", 0],
    "steps[0]  ": ["channels", 3, 4],
    "steps[0]   ": ["dequantize"],
    "steps[0][1]": ["narrow", -1, 8],
    "steps[0][1] ": ["grow", "median", 8],
    "steps[0][1]  ": ["channels", 3.0],
    "steps[0][1]   ": ["channels", True],
    "steps[0][1]    ": ["channels", "3"],
    "steps[0][1]     ": ["stack", 0],
    "steps[0][1]      ": ["resize_grid", 3, 2, 2],
    "steps[0][1]       ": ["transpose", 99, 0],
    "steps[0][2]": ["inflate", "mean", 1 << 40],
    "steps[0][2] ": ["select", 1, None],
    "steps[0][2]  ": ["dequantize", 127, -1],
    "steps[0][2]   ": ["dequantize", 127, {"float": "inf"}],
    "steps[0][4]": ["resize_tokens", 1, 2, 2, 0, 2],
}

VALUES = {
    **{f"value.{place}": adapted(step) for place, step in STEPS.items()},
    "value.steps[1][0]": adapted(["transpose"], ["no such step"]),
    "value.steps": adapted() | {"steps": 5},
    "value.steps[0]    ": adapted("transpose"),
    "value.value": {"kind": "Scaled", "value": {"kind": "Keep"}, "factors": [1.0] * 8, "axis": 0},
    "value.value ": {
        "kind": "Scaled",
        "value": {"kind": "FromCheckpoint", "source": "a.pth", "key": "w"},
        "factors": [1.0] * 8,
        "axis": 0,
    },
    "value.values[1]": {
        "kind": "Originals",
        "source": "a.pth",
        "key": "w",
        "values": [{"kind": "Keep"}, NORMAL],
    },
    "value.values[0].steps[0][1]": {
        "kind": "Originals",
        "source": "a.pth",
        "key": "w",
        "values": [adapted(["stack", 0])],
    },
    "value.std": {**NORMAL, "std": -1.0},
    "value.std ": {**NORMAL, "std": "nan"},
    "value.std  ": {**NORMAL, "std": True},
    "value.std   ": {**NORMAL, "std": "0.1"},
    "value.mean": {**NORMAL, "mean": "-inf"},
    "value.mean ": {**NORMAL, "mean": 10**400},
    "value.mean  ": {**NORMAL, "mean": 10**30},
    "value.a": {"kind": "TruncNormal", "mean": 0.0, "std": 1.0, "a": 2.0, "b": 1.0},
    "value.a ": {"kind": "Uniform", "a": 2.0, "b": 1.0},
    "value.sparsity": {"kind": "Sparse", "sparsity": 5.0, "std": 0.1},
    "value.rows[0]": {"kind": "Orthogonal", "gain": 1.0, "rows": [-8], "stack": [], "algorithm": 2},
    "value": {"kind": "Orthogonal", "gain": 1.0, "rows": [10**12], "stack": [], "algorithm": 2},
    "value.algorithm": {"kind": "Orthogonal", "gain": 1.0, "rows": [0], "stack": [], "algorithm": 0},
    "value            ": {"kind": "Orthogonal", "gain": 1.0, "rows": [0], "stack": [], "algorithm": 1},
    "value.groups": {"kind": "Dirac", "groups": 0},
    "value.kind": {"kind": "os.system", "command": "id"},
    "value ": {"kind": "Normal", "std": 1.0},
    "value  ": "Normal",
    "value   ": None,
    "value.sizes[0]": parts(sizes=[-4, 12]),
    "value    ": parts(sizes=[2, 2]),
    "value.sizes": parts(sizes=[4, 2, 2]),
    "value     ": parts(dim=5),
    "value.dim": parts(dim=-1),
    "value.values[1].std": parts(values=[NORMAL, {**NORMAL, "std": -3}]),
    "value.index": {"kind": "PaddingRow", "index": -1, "value": NORMAL},
    "value      ": {"kind": "PaddingRow", "index": 99, "value": NORMAL},
    "value.value.value": functools.reduce(
        lambda inner, _: {"kind": "CopyOf", "source": "x", "value": inner}, range(40), NORMAL
    ),
}


@pytest.mark.parametrize("place", VALUES)
def test_a_value_with_a_fault(place):
    path = f"weight.{place.strip()}"
    for data, read, top in (
        (changed(PLAN, "parameters/weight/value", VALUES[place]), initcfg.Plan.from_json, "parameters"),
        (changed(LEDGER, "tensors/weight/value", VALUES[place]), initcfg.Ledger.from_json, "tensors"),
    ):
        with pytest.raises(errors.PlanError) as caught:
            read(data)
        assert str(caught.value).startswith(f"{top}.{path}"), caught.value
        assert len(str(caught.value)) < 600


FIELDS = [
    ("shape", [-8, 8], "shape[0]"),
    ("shape", [8.0, 8], "shape[0]"),
    ("shape", "88", "shape"),
    ("shape", [1 << 40, 1 << 40], "shape"),
    ("dtype", "float7", "dtype"),
    ("dtype", "nn", "dtype"),
    ("dtype", 5, "dtype"),
    ("rule", {"a": 1}, "rule"),
    ("initializer", [1], "initializer"),
    ("shadowed", "abc", "shadowed"),
    ("frozen", "no", "frozen"),
    ("layout", {}, ""),
    ("evil", 1, ""),
]


@pytest.mark.parametrize(("field", "item", "place"), FIELDS)
def test_a_field_of_another_type(field, item, place):
    data = changed(PLAN, f"parameters/weight/{field}", item)
    with pytest.raises(errors.PlanError) as caught:
        initcfg.Plan.from_json(data)
    assert str(caught.value).startswith(f"parameters.weight{'.' if place else ''}{place}")


@pytest.mark.parametrize("version", [2, "1", True, 1.0, None, "x", [], 10**400])
def test_versions_of_the_format(version):
    for data, read in ((PLAN, initcfg.Plan.from_json), (LEDGER, initcfg.Ledger.from_json)):
        with pytest.raises(errors.PlanError, match="version"):
            read({**data, "version": version})


@pytest.mark.parametrize(
    ("field", "item"),
    [
        ("aliases", ["a"]),
        ("aliases", {"a": "nowhere"}),
        ("aliases", {"weight": "weight"}),
        ("aliases", {"weight": "bias"}),
        ("aliases", {"a": "b", "b": "a"}),
        ("notes", 5),
        ("notes", [{}]),
        ("loads", "abc"),
        ("loads", [{"a": 1}]),
        ("loads", [{"rule": "r", "source": "s", "given": {}}]),
        ("unused", [{"rule": 1}]),
        ("rules", {"x": 5}),
        ("compat", [5]),
        ("compat", "mmcv"),
        ("buffers", None),
        ("buffers", PLAN["parameters"]),
        ("evil", 1),
        ("before_code", {"a": {"shape": "x", "dtype": "y"}}),
    ],
)
def test_the_top_of_a_plan(field, item):
    with pytest.raises(errors.PlanError):
        initcfg.Plan.from_json({**PLAN, field: item})


@pytest.mark.parametrize(
    ("field", "item"),
    [
        ("seed", "3"),
        ("seed", -1),
        ("seed", 1 << 64),
        ("seed", True),
        ("seed", 1.0),
        ("rng", "numpy"),
        ("stream_version", "x"),
        ("stream_version", None),
        ("stream_version", True),
        ("stream_version", 1.0),
        ("plan_digest", 5),
        ("versions", [1]),
        ("aliases", {"a": "b"}),
        ("tensors", []),
        ("tensors", {"weight": {"shape": [8, 8], "dtype": "float32", "by": "god"}}),
        ("loads", 5),
        ("evil", 1),
    ],
)
def test_the_top_of_a_ledger(field, item):
    with pytest.raises(errors.PlanError):
        initcfg.Ledger.from_json({**LEDGER, field: item})


@pytest.mark.parametrize("field", [*PLAN])
def test_a_missing_field_of_a_plan(field):
    data = {name: item for name, item in PLAN.items() if name != field}
    try:
        initcfg.Plan.from_json(data)
    except errors.PlanError as error:
        assert field in str(error)
    else:
        assert field not in ("format", "version", "parameters", "buffers", "aliases", "unused")


@pytest.mark.parametrize("field", [*LEDGER])
def test_a_missing_field_of_a_ledger(field):
    with pytest.raises(errors.PlanError, match=field):
        initcfg.Ledger.from_json({name: item for name, item in LEDGER.items() if name != field})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"format": "initcfg-ledger", "format": "initcfg-ledger"}',
        json.dumps(LEDGER)[:-1] + ', "seed": 4}',
        json.dumps(LEDGER).replace('"seed": 0', '"seed": ' + "9" * 5000),
        json.dumps(LEDGER).replace('"std": 0.1', '"std": ' + "9" * 5000),
        json.dumps(LEDGER).replace('"std": 0.1', '"std": ' + "[" * 400 + "]" * 400),
        json.dumps(LEDGER).replace('"std": 0.1', '"std": NaN'),
        json.dumps(LEDGER).replace('"dtype"', '"\\ud800"'),
    ],
)
def test_texts_that_hold_no_ledger(text, tmp_path):
    (tmp_path / "a.ledger.json").write_text(text)
    with pytest.raises(errors.PlanError):
        initcfg.Ledger.load(tmp_path / "a.ledger.json")


# -- nothing changes -----------------------------------------------------------------------------


def test_nothing_of_a_plan_can_be_changed():
    rule: dict[str, Any] = dict(type="Value", layer="Linear", param="weight", value=parts())
    model = nn.Linear(8, 8)
    plan: Any = initcfg.plan(model, [rule, RULE])
    text = json.dumps(plan.to_json())
    rule["value"]["sizes"].append(3)
    plan["weight"].value.args["std"] = 5
    for change in (
        lambda: plan.parameters.update(weight=None),
        plan.rules.clear,
        lambda: plan.aliases.setdefault("a", "weight"),
        lambda: plan["weight"].initializer.__setitem__("std", 5),
        lambda: (
            plan["weight"].initializer["value"]["sizes"].append(1)
            if "value" in plan["weight"].initializer
            else plan["weight"].initializer.pop("type")
        ),
        lambda: setattr(plan["weight"], "value", None),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert json.dumps(plan.to_json()) == text
    assert copy.deepcopy(plan) == plan


def test_nothing_of_a_ledger_can_be_changed():
    ledger: Any = initcfg.init_weights(nn.Linear(8, 8), RULE, seed=0)
    for change in (
        lambda: ledger.entries.pop("weight"),
        lambda: ledger.versions.update(torch="9"),
        lambda: ledger["weight"].initializer.update(std=9),
    ):
        with pytest.raises(TypeError):
            change()


# -- numbers that are not finite -----------------------------------------------------------------

ODD = [
    math.inf,
    -math.inf,
    math.nan,
    -math.nan,
    struct.unpack(">d", bytes.fromhex("7ff8000000000abc"))[0],
    -0.0,
]


@pytest.mark.parametrize("number", ODD, ids=lambda each: struct.pack(">d", each).hex())
def test_odd_numbers_go_through_unchanged(number, tmp_path):
    rule = dict(type="Constant", layer="Linear", val=number)
    plan = initcfg.plan(nn.Linear(2, 2), rule)
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False)))
    fresh = initcfg.plan(nn.Linear(2, 2), dict(rule, val=struct.unpack(">d", struct.pack(">d", number))[0]))
    for other in (again, fresh):
        assert plan == other
        assert plan.digest == other.digest
        assert not plan.diff(other)
        assert plan["weight"].value == other["weight"].value
        assert hash(plan["weight"].value) == hash(other["weight"].value)
    value: Any = again["weight"].value
    assert struct.pack(">d", value.val) == struct.pack(">d", number)
    ledger = plan.apply(nn.Linear(2, 2), seed=0)
    ledger.save(tmp_path / "l.json")
    assert initcfg.Ledger.load(tmp_path / "l.json") == ledger


def test_numbers_of_other_bits_are_other_values():
    assert len({Constant(number) for number in ODD}) == len(ODD)
    assert Normal(0, 1) == Normal(0.0, 1.0)
    assert Parts(0, (1,), (Constant(math.nan),)) == Parts(0, (1,), (Constant(float("nan")),))


# -- mutations -----------------------------------------------------------------------------------


def test_originals_of_a_tensor_that_is_stored_as_one(tmp_path):
    model = nn.Linear(8, 8)
    torch.save({"w": torch.zeros(8, 8)}, tmp_path / "a.pth")
    load = {"kind": "FromCheckpoint", "source": str(tmp_path / "a.pth"), "key": "w"}
    value = {"kind": "Originals", "source": load["source"], "key": "w", "values": [load, load]}
    plan = initcfg.Plan.from_json(changed(PLAN, "parameters/weight/value", value))
    before = model.weight.detach().clone()
    with pytest.raises(errors.ApplyError, match="'weight' is stored in 1 tensor here, and the plan says"):
        plan.apply(model, seed=0)
    assert torch.equal(model.weight, before)
