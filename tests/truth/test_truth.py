"""The plan against what MMEngine really did, parameter by parameter, on 141 recorded models.

Only the module trees are needed: no OpenMMLab package is. At or below a module whose class has an
`init_weights` of its own, code decides and not rules: there the plan may say so (Opaque), and has to
wherever that code wrote. Whatever else it says must be right there, too.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from records import DATA, ModelRecord, ParameterRecord, load
from standins import UserCodeError, build

import initcfg

#: The function of MMEngine that wrote, and the initializers that call it.
HELPERS = {
    "constant_init": {"Constant"},
    "normal_init": {"Normal"},
    "uniform_init": {"Uniform"},
    "trunc_normal_init": {"TruncNormal"},
    "xavier_init": {"Xavier"},
    "kaiming_init": {"Kaiming", "Caffe2Xavier"},
}

#: All parameters of the 141 models by who wrote them last; those with no code above them.
COUNTED = {"initializer": 21_120, "torch_default": 14_816, "user_init_weights": 6_677, "construct": 4_656}
RULED = {"initializer": 15_497, "torch_default": 10_891, "construct": 471}

#: What Caffe2Xavier is in terms of Kaiming.
CAFFE2 = {"a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu", "distribution": "uniform"}


@cache
def _records() -> dict[str, ModelRecord]:
    return {record.file: record for record in load()}


def _ruled(record: ModelRecord) -> Iterator[ParameterRecord]:
    """The parameters for which nothing but rules can have decided."""
    return (each for each in record.params if not record.under_user_code(each))


def _expected_value(parameter: ParameterRecord) -> tuple[str, dict[str, float]]:
    """Kind and numbers of the value: what the tensor operation really got."""
    numbers = parameter.op_args
    match parameter.op:
        case "aten.fill_.Scalar":
            return "Constant", {"val": numbers[0]}
        case "aten.normal_.default":
            return "Normal", {"mean": numbers[0], "std": numbers[1]}
        case "aten.uniform_.default":
            return "Uniform", {"a": numbers[0], "b": numbers[1]}
        case "aten.clamp_.default" if parameter.event == "trunc_normal_":
            return "TruncNormal", {key: parameter.args[key] for key in ("mean", "std", "a", "b")}
    raise AssertionError(f"{parameter}: no value is known for this operation")


def _initializer_agrees(parameter: ParameterRecord, initializer: Any) -> bool:
    """Type and resolved arguments of the initializer, as MMEngine's helper function got them."""
    if initializer is None or initializer["type"] not in HELPERS[parameter.helper or ""]:
        return False
    expected = dict(parameter.helper_args)
    given = {key: item for key, item in initializer.items() if key != "type"}
    if initializer["type"] == "Caffe2Xavier":
        if any(expected[key] != item for key, item in CAFFE2.items()):
            return False
        expected = {"bias": expected["bias"]}
        given = {key: item for key, item in given.items() if key not in CAFFE2}
    return given == expected


def _disagreements(record: ModelRecord) -> list[str]:
    model = build(record)
    with warnings.catch_warnings():
        # Under compat a `layer` that matches nothing is a warning, and real configs have many.
        warnings.simplefilter("ignore", UserWarning)
        plan = initcfg.plan(model, compat="mmengine")
    verdicts = ((each, _disagreement(each, plan[each.name], record)) for each in record.params)
    return [f"{parameter.name}: {verdict}" for parameter, verdict in verdicts if verdict]


def _disagreement(parameter: ParameterRecord, assignment: Any, record: ModelRecord) -> str | None:
    """What the plan says otherwise than the record; None if nothing."""
    value = assignment.value
    if value.kind == "Opaque":
        return None if record.under_user_code(parameter) else f"{value}, but there is no code above"
    if parameter.source == "user_init_weights":
        return f"{value}, but code of the model's own wrote it"
    if parameter.source != "initializer":
        return None if value.kind == "Keep" else f"{value}, but it was left as built ({parameter.source})"
    kind, numbers = _expected_value(parameter)
    if value.kind != kind or dict(value.args) != numbers:
        return f"{value}, but it was {kind} {numbers}"
    if not _initializer_agrees(parameter, assignment.initializer):
        return f"{assignment.initializer}, but it was {parameter.helper} {parameter.helper_args}"
    return None


@pytest.mark.parametrize("name", list(_records()))
def test_plan_equals_what_mmengine_did(name: str) -> None:
    assert _disagreements(_records()[name]) == []


def test_a_wrong_rule_is_seen() -> None:
    """One rule off by a little, on one recorded model: exactly its weights are reported."""
    record = _records()["mmdet__cascade_rcnn__cascade-mask-rcnn_r101-caffe_fpn_1x_coco"]
    backbone = record.modules["backbone"]
    kaiming, constant = backbone.init_cfg
    changed = replace(backbone, init_cfg=[{**kaiming, "a": 1e-6}, constant])
    wrong = replace(record, modules={**record.modules, "backbone": changed})
    weights = [each.name for each in _ruled(record) if each.event == "kaiming_normal_"]
    assert len(weights) == 104
    assert [line.partition(":")[0] for line in _disagreements(wrong)] == weights


# -- the data and the stand-ins themselves -------------------------------------------------------


def test_counts() -> None:
    sources = Counter(each.source for record in _records().values() for each in record.params)
    ruled = Counter(each.source for record in _records().values() for each in _ruled(record))
    assert len(_records()) == 141
    assert sources == COUNTED
    assert ruled == RULED


def test_data_is_small() -> None:
    assert DATA.stat().st_size < 100_000


@pytest.mark.parametrize("name", list(_records())[::20])
def test_stand_in_has_the_recorded_tree(name: str) -> None:
    record = _records()[name]
    model = build(record)
    modules = dict(model.named_modules(remove_duplicate=False))
    assert list(modules) == list(record.order)
    assert [name for name, _ in model.named_parameters(remove_duplicate=False)] == [
        each.name for each in record.params
    ]
    for alias, target in record.aliases.items():
        assert modules[alias] is modules[target]
    for module in record.modules.values():
        stand_in = modules[module.name]
        assert [cls.__name__ for cls in type(stand_in).__mro__] == list(module.cls.lineage)
        assert [cls.__name__ for cls in type(stand_in).__bases__] == list(module.cls.bases)
        assert type(stand_in).__module__ == module.cls.module or module.cls.name == "Module"
        for asked, target in module.override_targets.items():
            assert getattr(stand_in, asked) is modules[target]
        if module.cls.overrides_init_weights:
            with pytest.raises(UserCodeError):
                stand_in.init_weights()  # type: ignore[operator]
