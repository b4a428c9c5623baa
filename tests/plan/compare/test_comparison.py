"""Two plans compared: their types, and why they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import initcfg
from initcfg._plan.compare.comparison import compare
from initcfg._plan.report.differing import diff_view
from initcfg._plan.report.table import render
from initcfg.errors import OutputError, PlanError


def test_data_types() -> None:
    a = initcfg.plan(nn.Linear(2, 2))
    b = initcfg.plan(nn.Linear(2, 2, dtype=torch.bfloat16))
    found = compare(a, b)
    assert set(found.changed) == {"weight", "bias"}
    assert "float32  →  bfloat16" in render(diff_view(found))


def test_reach_of_mmengine_is_explained() -> None:
    model = initcfg.Sequential(
        nn.MultiheadAttention(4, 2), init_cfg=dict(type="Normal", std=1.0, layer="MultiheadAttention")
    )
    found = compare(initcfg.plan(model), initcfg.plan(model, compat="mmengine"))
    assert "does not know in_proj_weight" in found.reasons["0.in_proj_weight"]
    assert set(found.reasons) == set(found.changed)


@pytest.mark.parametrize("other", [None, 3, "plan.json", nn.Linear(2, 2)])
def test_what_is_no_plan_is_refused(other: object) -> None:
    plan = initcfg.plan(nn.Linear(2, 2))
    for pair in ((plan, other), (other, plan)):
        with pytest.raises(PlanError, match=f"not a {type(other).__name__}"):
            compare(*pair)  # type: ignore[arg-type]


@pytest.mark.parametrize("mistaken", [3, "folder", nn.Linear])
def test_a_model_and_a_folder_in_the_wrong_order(mistaken: object, tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model)
    with pytest.raises(PlanError, match="The model is a"):
        plan.save_weights(tmp_path / "out", mistaken)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="by its path, not by a Linear"):
        plan.save_weights(model, model)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
