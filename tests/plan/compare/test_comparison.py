"""Two plans compared: their types, and why they differ."""

from __future__ import annotations

import torch
from torch import nn

import initcfg
from initcfg._plan.compare.comparison import compare
from initcfg._plan.report.differing import diff_view
from initcfg._plan.report.table import render


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
