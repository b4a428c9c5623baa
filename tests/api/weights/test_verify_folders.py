"""Verifying folders: what does not belong to them, is cut off, is not finished, or is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._api.command.cli import main


class _Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(40, 40)
        self.register_buffer("mask", torch.tril(torch.ones(4, 4)), persistent=False)
        self.register_buffer("steps", torch.arange(4.0))


@pytest.fixture(params=[None, "1kB"])
def checkpoint(request, tmp_path) -> Path:
    initcfg.trace(_Masked).save_weights(tmp_path / "out", seed=0, shard_size=request.param)
    return tmp_path / "out"


@pytest.mark.parametrize("junk", [b"", b"abcde", b"\xff" * 100, b"\x10" + bytes(7) + b"{" * 16])
def test_a_file_that_does_not_belong_to_it(checkpoint, junk):
    (checkpoint / "stray.safetensors").write_bytes(junk)
    assert initcfg.verify(checkpoint, trust_ledger=True).exit_code == 0


def test_a_buffer_that_no_file_stores_keeps_nothing_from_being_verified(tmp_path):
    class Plain(_Masked):
        def __init__(self) -> None:
            super().__init__()
            del self.steps

    plan = initcfg.trace(Plain)
    ledger = plan.save_weights(tmp_path / "out", seed=0)
    assert ledger.unsaved == ("mask",)
    found = initcfg.verify(tmp_path / "out")
    assert (found.counts(), found.exit_code) == ({"initial": 2}, 0)
    model = Plain()
    assert initcfg.verify(model, plan.apply(model, seed=0)).exit_code == 0
    # One that is in the file is computed only where the ledger is trusted.
    state = {**model.state_dict(), "mask": torch.tril(torch.ones(4, 4))}
    save_file(state, tmp_path / "m.safetensors", {"initcfg.ledger": json.dumps(ledger.to_json())})
    with pytest.raises(errors.ConfigError, match="has formulas, for 1 tensor such as 'mask'"):
        initcfg.verify(tmp_path / "m.safetensors")


def test_only_a_buffer_that_was_written_is_one_that_no_file_stores(tmp_path):
    data = initcfg.trace(_Masked).save_weights(tmp_path / "out", seed=0).to_json()
    for wrong in ("fc.weight", "other", 3):
        with pytest.raises(errors.PlanError, match="unsaved"):
            initcfg.Ledger.from_json({**data, "unsaved": [wrong]})


@pytest.mark.parametrize("left", [0, 4, 12, 200])
def test_a_file_that_was_cut_off_is_damaged(checkpoint, left):
    damaged = sorted(checkpoint.glob("*.safetensors"))[0]
    damaged.write_bytes(damaged.read_bytes()[:left])
    done = CliRunner().invoke(main, ["verify", str(checkpoint), "--trust-ledger"])
    assert done.exit_code == 2
    said = done.stderr
    assert damaged.name in said and "pickle" not in said and "Error" not in said
    assert "is damaged" in said or "is empty" in said or "is neither" in said


def test_what_is_not_there_and_what_is_not_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.CheckpointNotFoundError, match="There is no checkpoint 'nope'"):
        initcfg.verify("nope")
    Path("empty").mkdir()
    with pytest.raises(errors.CheckpointNotFoundError, match="'empty' holds no checkpoint"):
        initcfg.verify("empty")
    Path("begun").mkdir()
    Path("begun/.initcfg-unfinished.json").write_text("{}")
    with pytest.raises(errors.CheckpointError, match="'begun' is not whole"):
        initcfg.verify("begun")
    Path("plain").mkdir()
    torch.save({"weight": torch.zeros(2)}, "plain/pytorch_model.bin")
    with pytest.raises(errors.ConfigError, match="'plain' holds no plan and no ledger"):
        initcfg.verify("plain")
