"""Numbers that no float can hold are refused where they are read, and raise nothing of Python's own."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors

HUGE = 10**400


def test_an_alpha_beyond_a_float(tmp_path):
    save_file(
        {"a.lora_A.weight": torch.ones(1, 2), "a.lora_B.weight": torch.ones(2, 1)},
        tmp_path / "adapter_model.safetensors",
    )
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": HUGE, "r": 1}))
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "base.safetensors")
    rule = dict(
        type="Pretrained",
        checkpoint=str(tmp_path / "adapter_model.safetensors"),
        adapt=dict(type="merge_lora", base=str(tmp_path / "base.safetensors")),
    )
    with pytest.raises(errors.InitcfgError):
        initcfg.plan(nn.Linear(2, 2), rule)


def test_an_argument_beyond_a_float():
    rule = dict(
        type="Pretrained", checkpoint={"weight": torch.ones(2, 2)}, adapt=dict(type="merge_lora", alpha=HUGE)
    )
    with pytest.raises(errors.InitcfgError):
        initcfg.plan(nn.Linear(2, 2), rule)
