"""Ledgers: files that hold none."""

from __future__ import annotations

import pytest
import torch

import initcfg
from initcfg import errors


def test_ledgers_that_are_none(tmp_path):
    (tmp_path / "a.json").write_text("{")
    torch.save({}, tmp_path / "a.pth")
    for name in ("a.json", "a.pth", "none.json", "none.safetensors"):
        with pytest.raises(errors.PlanError):
            initcfg.Ledger.load(tmp_path / name)
