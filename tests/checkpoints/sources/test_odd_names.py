"""Paths and names that no file can have: an error that says so."""

from __future__ import annotations

import json

import pytest
from torch import nn

import initcfg
from initcfg._checkpoints.formats import open_path
from initcfg.errors import ArgumentError, CheckpointError, InitcfgError

NAMES = {
    "nul": "a\0b.pth",
    "nul in an address": "file:///a\0b",
    "surrogate": "\ud800.pth",
    "surrogate on the web": "http://127.0.0.1:9/\ud800.pth",
    "long name": "x" * 300,
    "long name of a folder": "x" * 300 + "/a.pth",
    "long path": "x/" * 3000,
    "nobody's home": "~nobody-of-this-name/x.pth",
    "empty": " ",
    "device": "/dev/zero",
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_no_file_has(case, monkeypatch):
    monkeypatch.setenv("INITCFG_RETRIES", "0")
    with pytest.raises(InitcfgError) as caught:
        initcfg.init_weights(nn.Linear(2, 2), {"type": "Pretrained", "checkpoint": NAMES[case]}, seed=0)
    assert isinstance(caught.value, CheckpointError)
    with pytest.raises(CheckpointError):
        open_path(NAMES[case])


@pytest.mark.parametrize("name", ["x\0y", "x" * 300, "é" * 200, "a/" * 3000 + "b"])
def test_names_in_an_index(tmp_path, name):
    (tmp_path / "a.index.json").write_text(json.dumps({"weight_map": {"weight": name}}))
    with pytest.raises(CheckpointError, match="which is not in its folder"):
        open_path(tmp_path / "a.index.json")


@pytest.mark.parametrize("given", [nn.Linear, nn.Module, 5, None, [1], b"abc"])
def test_what_is_no_checkpoint(given):
    with pytest.raises(ArgumentError, match="must be a path, a URL, a state_dict or a function"):
        initcfg.init_weights(nn.Linear(2, 2), {"type": "Pretrained", "checkpoint": given}, seed=0)
