"""Seeds and settings are checked at the door."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initcfg
from initcfg import errors
from initcfg._api.command import main
from initcfg._stream.environment import SETTINGS, flag_setting, number_setting, turned_off

RULE = dict(type="Normal", layer="Linear", std=0.02)


class Three:
    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize(
    "seed", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor([3]), Three()]
)
def test_integers_of_other_kinds_are_integers(seed, rng, tmp_path):
    model, other = nn.Linear(4, 4), nn.Linear(4, 4)
    ledger = initcfg.init_weights(model, RULE, seed=seed, rng=rng)
    assert type(ledger.seed) is int
    assert ledger == initcfg.init_weights(other, RULE, seed=3, rng=rng)
    assert torch.equal(model.weight, other.weight)
    ledger.save(tmp_path / "l.json")
    assert json.loads((tmp_path / "l.json").read_text())["seed"] == 3
    assert initcfg.Ledger.load(tmp_path / "l.json") == ledger


@pytest.mark.parametrize("rng", ["stream", "torch"])
@pytest.mark.parametrize(
    "seed",
    [
        True,
        np.True_,
        torch.tensor(True),
        1.0,
        np.float32(1),
        torch.tensor(1.0),
        "3",
        b"3",
        [3],
        -1,
        1 << 64,
        torch.ones(2, dtype=torch.int64),
    ],
    ids=repr,
)
def test_what_is_no_seed(seed, rng, tmp_path):
    model = nn.Linear(4, 4)
    before, state = model.weight.clone(), torch.get_rng_state()
    with pytest.raises(errors.InitcfgError, match=r"[Ss]eed"):
        initcfg.init_weights(model, RULE, seed=seed, rng=rng)
    assert torch.equal(model.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    if rng == "stream":
        with pytest.raises(errors.InitcfgError, match=r"[Ss]eed"):
            initcfg.plan(model, RULE).save_weights(tmp_path / "out", model, seed=seed)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["-1", "0", "x", "nan", "inf", "-inf", "1e9", "1.5", "1_0", "٣", "99999999", "0x10"]
)
def test_numbers_of_the_environment(text, monkeypatch):
    monkeypatch.setenv("INITCFG_TEST", text)
    with pytest.raises(errors.ApplyError, match="INITCFG_TEST"):
        number_setting("INITCFG_TEST", 1, 1, 4096, whole=True, error=errors.ApplyError)


@pytest.mark.parametrize(("text", "number"), [("", 7), ("  ", 7), ("1", 1), (" 12 ", 12)])
def test_numbers_that_are_taken(text, number, monkeypatch):
    monkeypatch.setenv("INITCFG_TEST", text)
    assert number_setting("INITCFG_TEST", 7, 1, 4096, whole=True, error=errors.ApplyError) == number


@pytest.mark.parametrize(
    ("name", "text"),
    [("INITCFG_THREADS", "-1"), ("INITCFG_THREADS", "nan"), ("INITCFG_KERNEL", "perhaps")],
)
def test_the_variable_is_named_and_nothing_is_written(name, text, monkeypatch):
    model = nn.Linear(300, 300)
    before = model.weight.clone()
    monkeypatch.setenv(name, text)
    with pytest.raises(errors.ApplyError, match=name):
        initcfg.init_weights(model, RULE, seed=1)
    assert torch.equal(model.weight, before)


def test_the_buffer_of_a_stream_is_a_number(monkeypatch, tmp_path):
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", "many")
    with pytest.raises(errors.OutputError, match="INITCFG_STREAM_BUFFER"):
        initcfg.plan(nn.Linear(4, 4), RULE).save_weights(tmp_path / "out", nn.Linear(4, 4), seed=0)


def test_switches(monkeypatch):
    for text, off in (("", False), ("1", False), ("yes", False), ("0", True), ("off", True)):
        monkeypatch.setenv("INITCFG_KERNEL", text)
        assert turned_off("INITCFG_KERNEL") is off
        assert flag_setting("INITCFG_KERNEL", error=errors.ApplyError) is (text in ("1", "yes"))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_variable_is_checked_at_each_door(name, monkeypatch, tmp_path):
    """Whether what is asked for would read it or not."""
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv(name, str(file))
    model = nn.Linear(4, 4)
    with pytest.raises(errors.InitcfgError, match=name):
        initcfg.plan(model, RULE)
    monkeypatch.delenv(name)
    plan = initcfg.plan(model, RULE)
    monkeypatch.setenv(name, str(file))
    with pytest.raises(errors.InitcfgError, match=name):
        plan.apply(model, seed=0)
    with pytest.raises(errors.InitcfgError, match=name):
        plan.save_weights(tmp_path / "out", model, seed=0)
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(main, ["list", "initializers"])
    assert done.exit_code == 2 and name in done.stderr and done.stderr.count("error: ") == 1
    assert CliRunner().invoke(main, ["plan", "--help"]).exit_code == 0


def test_every_variable_of_the_source_is_listed():
    found = set()
    for path in Path(initcfg.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r"(?<!_)INITCFG_[A-Z]+(?:_[A-Z]+)*", path.read_text(encoding="utf-8")))
    assert found - {"INITCFG_UNSET"} == SETTINGS
