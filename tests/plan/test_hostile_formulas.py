"""Formulas from a stranger's plan: what they may do, and that nothing else is even read."""

from __future__ import annotations

import json
import resource
import time

import pytest
import torch
from torch import nn

import initcfg
from initcfg import errors
from initcfg.values import Formula
from initcfg.values.formulas import ALLOWED, operation

NORMAL = {"kind": "Normal", "mean": 0.0, "std": 1.0}
DRAWN = ["value", [6, 4], "float32", NORMAL, 0]


def plan_with(program: list) -> initcfg.Plan:
    data = initcfg.plan(nn.Linear(4, 6), dict(type="Normal", layer="Linear")).to_json()
    data["parameters"]["weight"]["value"] = {"kind": "Formula", "program": program}
    return initcfg.Plan.from_json(json.loads(json.dumps(data)))


def index(at: int) -> list:
    zero = [["data", [1], "int64", [at]], ["data", [], "float32", [0.0]]]
    return [DRAWN, *zero, ["index_put_", "$0", ["$1"], "$2"], ["result", "$0"]]


HOSTILE = {
    "sparse": [DRAWN, ["_sparse_coo_tensor_unsafe", "$0", "$0", [64]], ["result", "$1"]],
    "as_strided": [DRAWN, ["as_strided", "$0", [6, 4], [4000, 1]], ["result", "$1"]],
    "view beyond": [DRAWN, ["result", "$0:6,4:4000,1:0"]],
    "view after": [DRAWN, ["result", "$0:6,4:4,1:1"]],
    "view of a wider type": [DRAWN, ["result", "$0:6,4:4,1:0:float64"]],
    "resize_": [DRAWN, ["resize_", "$0", [1 << 40]], ["result", "$0"]],
    "set_": [DRAWN, ["set_.source_Tensor", "$0", "$0"], ["result", "$0"]],
    "from_file": [["from_file", "/etc/passwd", False, 24], ["result", "$0"]],
    "expand": [DRAWN, ["expand", "$0", [1 << 40, 6, 4]], ["result", "$1"]],
    "expanded view": [DRAWN, ["sum", "$0:1000000000,24:0,1:0"], ["mul.Tensor", "$0", "$1"], ["result", "$2"]],
    "empty_strided": [["empty_strided", [6, 4], [4, 1]], ["result", "$0"]],
    "empty with gaps": [["empty", [6, 4], [1 << 40, 1], "float32"], ["result", "$0"]],
    "unfold": [DRAWN, ["unfold", "$0", 0, 2, 1], ["result", "$1"]],
    "a view by name": [DRAWN, ["t", "$0"], ["t", "$1"], ["result", "$2"]],
    "out": [DRAWN, ["add.out", "$0", "$0", {"out": "$0"}], ["result", "$0"]],
    "storage": [DRAWN, ["_local_scalar_dense", "$0"], ["result", "$0"]],
    "manual_seed": [["manual_seed", 3], DRAWN, ["result", "$0"]],
    "lu_solve": [DRAWN, ["linalg_lu_solve", "$0", "$0", "$0"], ["result", "$1"]],
    "index beyond": index(6),
    "index before": index(-7),
    "select beyond": [
        DRAWN,
        ["data", [6], "int64", [0, 1, 2, 3, 4, 99]],
        ["index_select", "$0", 0, "$1"],
        ["result", "$2"],
    ],
    "gather beyond": [DRAWN, ["data", [1, 1], "int64", [9]], ["gather", "$0", 0, "$1"], ["result", "$0"]],
    "huge full": [["full", [1 << 20, 1 << 20], 1.0], ["result", "$0"]],
    "huge value": [["value", [1 << 20, 1 << 20], "float32", NORMAL, 0], ["result", "$0"]],
    "huge arange": [["arange", 10**12], ["result", "$0"]],
    "huge linspace": [["linspace", 0, 1, 10**12], ["result", "$0"]],
    "huge randperm": [["draw", "randperm", 10**12, 0], ["result", "$0"]],
    "repeat": [DRAWN, ["repeat", "$0", [1 << 20, 64]], ["result", "$1"]],
    "padding": [DRAWN, ["constant_pad_nd", "$0", [1 << 31, 1 << 31], 0], ["result", "$1"]],
    "many": [DRAWN, *(["repeat", f"${n}", [4, 1]] for n in range(20)), ["result", "$20"]],
    "work": [
        ["value", [1000, 1000], "float32", NORMAL, 0],
        *(["mm", f"${n}", "$0"] for n in range(40)),
        ["result", "$40"],
    ],
    "upsampling": [DRAWN, ["upsample_nearest1d", "$0:1,1,24:24,24,1:0", [24], -1.0], ["result", "$0"]],
    "c2r": [["value", [4], "complex64", 0.0], ["_fft_c2r", "$0", [0], 0, 1 << 20], ["result", "$1"]],
    "batch norm": [
        DRAWN,
        ["empty", [1], [1], "float32"],
        ["_native_batch_norm_legit", "$0", None, None, "$1", "$1", True, 0.1, 1e-5],
        ["result", "$2"],
    ],
    "other shape": [["value", [4, 4], "float32", NORMAL, 0], ["result", "$0"]],
    "no result": [DRAWN],
    "empty": [],
    "result in the middle": [DRAWN, ["result", "$0"], DRAWN, ["result", "$1"]],
    "forward": [["neg", "$1"], ["result", "$0"]],
    "a formula in it": [["value", [6, 4], "float32", {"kind": "Formula", "program": []}], ["result", "$0"]],
    "a checkpoint in it": [
        ["value", [6, 4], "float32", {"kind": "FromCheckpoint", "source": "/", "key": "a"}],
        ["result", "$0"],
    ],
    "a key twice": [DRAWN, ["add.Tensor", "$0", "$0", {"self": "$0"}], ["result", "$1"]],
    "a giant": [DRAWN, ["add.Tensor", "$0", 10**30], ["result", "$1"]],
    "a device": [["full", [6, 4], 1.0, {"device": "cuda"}], ["result", "$0"]],
    "a type": [DRAWN, ["_to_copy", "$0", {"dtype": "torch.qint8"}], ["result", "$1"]],
    "a module": [DRAWN, ["_to_copy", "$0", {"dtype": "torch.nn"}], ["result", "$1"]],
    "a draw without end": [DRAWN, ["draw", "random.from", "$0", (1 << 63) - 1, None, 0], ["result", "$1"]],
    "no draw": [DRAWN, ["draw", "neg", "$0", 0], ["result", "$1"]],
    "a draw without a key": [DRAWN, ["normal_", "$0"], ["result", "$0"]],
    "dunder": [["__class__"], ["result", "$0"]],
    "not a list": ["result"],
    "a number": [[5]],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_while_reading(name):
    began, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(errors.PlanError, match=r"^parameters\.weight\.value") as caught:
        plan_with(HOSTILE[name])
    if name.startswith(("index", "select", "gather")):
        assert "reaches beyond" in str(caught.value)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 << 10


def test_what_is_within_its_bounds_is_computed():
    plan = plan_with(index(5))
    model = nn.Linear(4, 6)
    plan.apply(model, seed=0)
    assert model.weight[5].abs().max() == 0
    assert model.weight[:5].abs().min() > 0
    again = initcfg.Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan


def test_the_place_of_the_fault_is_named():
    with pytest.raises(
        errors.PlanError, match=r"program\[1\]: A formula may not use the operation 'from_file'"
    ):
        Formula(json.dumps([DRAWN, ["from_file", "a"], ["result", "$0"]]))


def test_no_operation_that_is_allowed_looks_at_other_memory():
    """Each form of each operation, by what its schema says."""
    found = 0
    for base in sorted(ALLOWED):
        packets = [getattr(torch.ops.aten, name, None) for name in (base, f"{base}_")]
        forms = [(packet, form) for packet in packets if packet is not None for form in packet.overloads()]
        assert forms, base
        for packet, form in forms:
            try:
                func = operation(f"{packet.__name__}.{form}")
            except errors.PlanError:
                continue
            found += 1
            for each in func._schema.arguments:
                assert "Storage" not in str(each.type)
                assert not (each.kwarg_only and each.alias_info and each.alias_info.is_write)
            assert {str(each.type) for each in func._schema.returns} <= {"Tensor"}
            assert torch.Tag.dynamic_output_shape not in func.tags or base in ("index",)
    assert found > 400


def test_the_recorder_gives_up_what_a_formula_may_not_use():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.special.bessel_j0(torch.randn(8, 8)))

    plan = initcfg.trace(Model)
    assert plan["weight"].value.kind == "Opaque"
    assert "no operation of formulas" in str(plan["weight"].value)


def test_a_result_into_a_given_tensor_is_recorded_as_a_copy():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            table = torch.zeros(4, 6)
            torch.sin(torch.randn(4, 3), out=table[:, 0::2])
            self.weight = nn.Parameter(table)

    plan = initcfg.trace(Model)
    value = plan["weight"].value
    assert value.kind == "Formula"
    assert not any("out" in str(each) for each in value.instructions)
    model = Model()
    plan.apply(model, seed=0)
    assert model.weight[:, 1::2].abs().max() == 0
    assert 0 < model.weight[:, 0::2].abs().max() <= 1
