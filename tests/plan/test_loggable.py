"""What loggers take of plans and ledgers."""

from __future__ import annotations

import json

import torch
from torch import nn

import initcfg


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))


RULES = [
    dict(type="Kaiming", layer="Conv2d"),
    dict(type="Normal", layer="Linear", std=0.5, tune=dict(lr=0.25)),
]


def test_columns_and_rows() -> None:
    table = initcfg.plan(model(), RULES).to_table()
    assert table.columns == ["name", "shape", "elements", "dtype", "kind", "value", "rule", "tune", "buffer"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    assert rows["0.weight"][:4] == ["8×3×3×3", 216, "float32", "Normal"]
    assert rows["1.weight"][3:6] == ["Keep", "keeps its constructor's value", ""]
    assert rows["2.weight"] == [
        "2×8", 16, "float32", "Normal", "Normal(mean=0, std=0.5)", "init_cfg[1]", "lr ×0.25", False
    ]  # fmt: skip
    assert {type(cell) for row in table.rows for cell in row} == {str, int, bool}
    assert table.to_dict()["elements"] == [216, 8, 8, 8, 16, 2]
    json.dumps(table.to_dict())


def test_buffers_are_rows() -> None:
    rule = dict(type="Constant", layer="BatchNorm2d", buffer="*.running_var", val=2)
    rows = initcfg.plan(model(), rule).to_table().rows
    assert [(row[0], row[5], row[-1]) for row in rows if row[-1]] == [("1.running_var", "Constant(2)", True)]


def test_markdown_of_names_that_markdown_would_take_for_its_own() -> None:
    odd = nn.Module()
    odd.register_parameter("a|b\\", nn.Parameter(torch.zeros(1)))
    lines = initcfg.plan(odd).to_table().to_markdown().splitlines()
    assert lines[0].startswith("| name | shape |") and lines[1].startswith("| --- | --- |")
    assert lines[2].startswith("| a\\|b\\\\ | 1 | 1 | float32 |")


def test_flat_numbers() -> None:
    ledger = initcfg.init_weights(model(), RULES, seed=0)
    found = ledger.summary()
    assert all(type(number) is int for number in found.values())
    assert found == {
        "tensors": 6, "elements/all": 258, "buffers": 0,
        "by_rule": 4, "by_default": 0, "by_code": 0, "kept": 2,
        "elements/by_rule": 242, "elements/by_default": 0, "elements/by_code": 0, "elements/kept": 16,
        "loaded": 0, "loaded_not_finite": 0, "altered": 0, "checkpoints": 0, "rules": 2,
        "kind/Constant": 2, "kind/Keep": 2, "kind/Normal": 2,
    }  # fmt: skip


def test_of_a_checkpoint(tmp_path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.tensor([[float("nan")]]), "bias": torch.zeros(1)}, path)
    with torch.inference_mode(False):
        ledger = initcfg.init_weights(nn.Linear(1, 1), dict(type="Pretrained", checkpoint=str(path)))
    found = ledger.summary()
    assert (found["loaded"], found["loaded_not_finite"], found["checkpoints"]) == (2, 1, 1)
