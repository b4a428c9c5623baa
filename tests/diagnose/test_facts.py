"""Facts of a diagnosis: what they say as text, and that JSON keeps all of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from torch import nn

import initcfg
from initcfg._diagnose.facts import (
    AttentionMeasure,
    BlockMeasure,
    Diagnosis,
    Finding,
    Measures,
    ProbeRun,
    TensorMeasure,
    UnitMeasure,
)
from initcfg.errors import DiagnosisError

FINDING = Finding(
    "warning",
    "initial-loss",
    "head",
    19.3,
    1.0,
    (-0.1, 0.98),
    "The loss starts at 19.3.",
    "Steps are lost.",
    "Give the head a smaller std.",
    mend={"type": "Normal", "std": 0.02},
    rule="model.init_cfg[1]",
    source="cfg.py:14",
    value="Normal(mean=0, std=1)",
    tensors=("head.weight",),
    more=2,
)


def whole() -> Diagnosis:
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
    measures = Measures(
        tensors=(TensorMeasure("weight", "", (2, 2), 0.02, edges=(-1.0, 1.0), histogram=(0,) * 32),),
        blocks=(BlockMeasure("0", math.inf, None),),
        entering=1.0,
        attention=(AttentionMeasure("attn", (0.9, math.nan)),),
        units=(UnitMeasure("act", "relu", 0.5),),
        numbers={"loss": 19.3},
        probe=(ProbeRun(1e-3, (1.0, 0.5)),),
    )
    return Diagnosis((FINDING,), measures, plan, batch="a synthetic batch")


def test_json_keeps_all() -> None:
    told = json.loads(json.dumps(whole().to_json(), allow_nan=False))
    again = Diagnosis.from_json(told)
    assert again.to_json() == told
    assert again.findings == (FINDING,) and again.plan == whole().plan
    assert told["ok"] is False
    assert again.measures.blocks[0].rms == math.inf and math.isnan(again.measures.attention[0].entropies[1])


def test_the_line_of_a_finding_has_the_rule() -> None:
    assert str(FINDING) == (
        "warning initial-loss head: The loss starts at 19.3. (and 2 more) model.init_cfg[1] (cfg.py:14) "
        "gives head.weight Normal(mean=0, std=1). Give the head a smaller std. "
        "Append to the init_cfg: dict(type='Normal', std=0.02)."
    )
    text = str(whole()).splitlines()
    assert text == [
        "1 warning; the loss starts at 19.3; a synthetic batch, adamw at lr 0.001",
        str(FINDING),
    ]


def test_ok_is_no_error_and_no_warning() -> None:
    for level, ok in (("error", False), ("warning", False), ("info", True)):
        told = replace(whole(), findings=(replace(FINDING, level=level),))
        assert told.ok is ok
        assert (len(told.errors), len(told.warnings)) == (level == "error", level == "warning")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "initcfg-plan"}, "not a diagnosis"),
        ({"version": 2}, "version 2"),
        ({"findings": [{"level": "bad"}]}, "findings[0].level: The level of Finding is 'bad'"),
        ({"seed": "x"}, "seed: "),
        ({"extra": 1}, "'extra'"),
    ],
)
def test_what_is_no_diagnosis_is_refused_with_its_place(change: dict, said: str) -> None:
    with pytest.raises(DiagnosisError) as caught:
        Diagnosis.from_json({**whole().to_json(), **change})
    assert said in str(caught.value)
