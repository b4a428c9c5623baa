"""``initcfg inspect``: what it says of a checkpoint, and that it reads no number of it."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg._api.weights import inspect as inspected
from initcfg._checkpoints import common_prefix
from initcfg._checkpoints.formats import OpenedCheckpoint
from initcfg._checkpoints.formats.spans import Span


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["inspect", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    return {f"backbone.{key}": each for key, each in model.state_dict().items()}


def test_layers_that_are_alike_share_a_row(tmp_path, state):
    torch.save({"state_dict": state, "meta": {"epoch": 1}, "epoch": 12}, tmp_path / "a.pth")
    lines = run(str(tmp_path / "a.pth")).splitlines()
    assert lines[1].split() == ["backbone.{0..2}.weight", "3", "various", "float32", "144", "B"]
    text = "\n".join(lines)
    assert "all 9 keys begin with 'backbone.'" in text
    assert "taken off    'state_dict'" in text
    assert "beside       meta: a table of 1, epoch: 12" in text
    elements = sum(each.numel() for each in state.values())
    assert f"9 tensors, {elements} elements" in text
    full = run(str(tmp_path / "a.pth"), "--full").splitlines()
    assert full[1].split()[:3] == ["backbone.0.weight", "4×4", "float32"]


def test_json_has_every_tensor(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors", {"format": "pt"})
    data = json.loads(run(str(tmp_path / "a.safetensors"), "--json"))
    assert data["tensors"] == {
        key: {
            "shape": list(each.shape),
            "dtype": str(each.dtype).removeprefix("torch."),
            "bytes": each.numel() * each.element_size(),
        }
        for key, each in state.items()
    }
    assert data["bytes"] == sum(each["bytes"] for each in data["tensors"].values())
    assert (data["common_prefix"], data["prefixes"]) == ("backbone.", {"0.": 2, "1.": 2, "2.": 5})
    assert (data["metadata"], data["ledger"]) == ({"format": "pt"}, None)


def test_the_ledger_that_initcfg_wrote(tmp_path):
    (tmp_path / "c.yaml").write_text("model: {type: 'torch.nn:Linear', in_features: 2, out_features: 2}\n")
    output = str(tmp_path / "a.safetensors")
    done = CliRunner().invoke(main, ["init", str(tmp_path / "c.yaml"), "-o", output, "--seed", "5"])
    assert done.exit_code == 0, done.output
    assert "seed 5, rng stream" in run(output)
    found = inspected(output)
    assert found.ledger is not None
    assert found.ledger["seed"] == 5
    assert found.ledger["versions"]["initcfg"] == initcfg.__version__
    assert "initcfg.ledger" not in found.metadata


def test_parts(tmp_path, state):
    averages = {key: each.double() for key, each in state.items() if each.is_floating_point()}
    torch.save({"state_dict": state, "state_dict_ema": averages}, tmp_path / "a.pth")
    assert "other parts  'state_dict_ema'; --part shows one" in run(str(tmp_path / "a.pth"))
    data = json.loads(run(str(tmp_path / "a.pth"), "--part", "state_dict_ema", "--json"))
    assert {each["dtype"] for each in data["tensors"].values()} == {"float64"}
    assert "has no weights under 'ema'" in run(str(tmp_path / "a.pth"), "--part", "ema", code=2)


def test_no_number_is_read(tmp_path, state, monkeypatch):
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")

    def refuse(*_: object) -> None:
        raise AssertionError("a number was read")

    monkeypatch.setattr(Span, "memory", refuse)
    monkeypatch.setattr(OpenedCheckpoint, "read", refuse)
    monkeypatch.setattr(OpenedCheckpoint, "read_block", refuse)
    for name in ("a.pth", "a.safetensors"):
        assert "9 tensors" in run(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b'{"a": 1}', b"\x80\x02cos\nsystem\n."])
def test_bad_files_end_with_2(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    assert run(str(tmp_path / "a.pth"), code=2).startswith("error: ")
    assert "There is no checkpoint" in run(str(tmp_path / "b.pth"), code=2)


def test_names_steer_no_terminal(tmp_path):
    save_file(
        {"a\x1b[31m.weight": torch.ones(1), "[bold]b\n": torch.ones(1), "9" * 5000: torch.ones(1)},
        tmp_path / "a.safetensors",
        {"key\x07": "text\x1b[2J"},
    )
    output = run(str(tmp_path / "a.safetensors"))
    assert not {each for each in output if not each.isprintable() and each != "\n"}
    assert "a\\x1b[31m.weight" in output
    assert "[bold]b\\n" in output
    assert json.loads(run(str(tmp_path / "a.safetensors"), "--json"))["metadata"] == {
        "key\x07": "text\x1b[2J"
    }


@pytest.mark.parametrize(
    ("keys", "prefix"),
    [
        (["a.b.c", "a.b.d"], "a.b."),
        (["a.bc", "a.bd"], "a."),
        (["a.b", "a.b.c"], "a."),
        (["a.b", "c.d"], ""),
        (["a.b"], ""),
        ([], ""),
        (["a.", "a."], "a."),
    ],
)
def test_common_prefix(keys, prefix):
    assert common_prefix(keys) == prefix
