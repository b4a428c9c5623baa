"""What ``initcfg verify`` takes out of a checkpoint itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg import errors
from initcfg._api.command import main
from initcfg._apply import verified
from initcfg._checkpoints import open_source


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4).sin())


def saved(path, model: nn.Module, ledger: initcfg.Ledger, **changes: object) -> str:
    metadata = {"initcfg.ledger": json.dumps({**ledger.to_json(), **changes})}
    save_file({name: each.detach() for name, each in model.state_dict().items()}, path, metadata=metadata)
    return str(path)


def run(*args: str):
    return CliRunner().invoke(main, ["verify", *args])


def test_formulas_of_the_file_itself_need_trust(tmp_path):
    model = Drawn()
    ledger = initcfg.trace(Drawn).apply(model, seed=0)
    assert ledger["weight"].value.kind == "Formula"
    file = saved(tmp_path / "m.safetensors", model, ledger)
    refused = run(file)
    assert refused.exit_code == 2
    assert "--trust-ledger" in refused.output
    assert "--plan" in refused.output
    assert "'weight'" in refused.output
    assert run(file, "--trust-ledger").exit_code == 0
    ledger.save(tmp_path / "mine.json")
    assert run(file, "--plan", str(tmp_path / "mine.json")).exit_code == 0


def test_plain_values_of_the_file_itself_need_none(tmp_path):
    model = nn.Linear(4, 4)
    ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.1), seed=np.int64(3))
    assert ledger.seed == 3
    assert run(saved(tmp_path / "m.safetensors", model, ledger)).exit_code == 0


@pytest.mark.parametrize("version", [2, None, "x", True, 1.0])
def test_a_version_of_the_stream_that_nobody_knows(tmp_path, version):
    model = nn.Linear(4, 4)
    ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.1), seed=0)
    found = run(saved(tmp_path / "m.safetensors", model, ledger, stream_version=version))
    assert found.exit_code == 2
    assert "version" in found.output


def test_a_ledger_of_another_version_of_the_stream(tmp_path):
    model = nn.Linear(4, 4)
    ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.1), seed=0)
    file = saved(tmp_path / "m.safetensors", model, ledger)
    other = initcfg.Ledger.from_json({**ledger.to_json(), "stream_version": 2})
    with open_source(file, name=file) as reader, pytest.raises(errors.CheckpointError, match="version 2"):
        verified(reader, other)


def test_a_value_that_leaves_rows_is_not_compared(tmp_path):
    model = nn.Linear(4, 6)
    ledger = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=0.1), seed=0)
    data = ledger.to_json()
    half = {"kind": "Constant", "val": 0.0}
    data["tensors"]["weight"]["value"] = {"kind": "Parts", "dim": 0, "sizes": [2, 2], "values": [half, half]}
    found = run(saved(tmp_path / "m.safetensors", model, ledger, tensors=data["tensors"]))
    assert found.exit_code == 2
    assert "do not make the 6 along dimension 0" in found.output
