"""Under compat, MMEngine's log file has a line for every parameter."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import initcfg
from initcfg.compat import mmengine


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of the logger ``mmengine``, as of a program that has left MMEngine."""
    monkeypatch.delitem(sys.modules, "mmengine.logging", raising=False)
    logger, file = logging.getLogger("mmengine"), tmp_path / "run.log"
    handler = logging.FileHandler(file, delay=True)
    logger.addHandler(handler)
    yield file
    logger.removeHandler(handler)
    handler.close()


class Neck(mmengine.BaseModule):
    def __init__(self) -> None:
        super().__init__(dict(type="Xavier", layer="Linear", bias=3))
        self.linear = nn.Linear(2, 2)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.normal_(self.linear.weight)


class Model(mmengine.BaseModule):
    def __init__(self) -> None:
        super().__init__(dict(type="TruncNormal", layer="Conv2d", std=0.5, override=dict(name="head")))
        self.conv, self.head, self.other = nn.Conv2d(1, 2, 1), nn.Linear(2, 2, bias=False), nn.Linear(1, 1)
        self.neck = Neck()


SAME = "The value is the same before and after calling `init_weights` of Model  "
TRUNCATED = "TruncNormalInit: a=-2, b=2, mean=0, std=0.5, bias=0 "


def test_every_parameter_has_its_line(log: Path):
    Model().init_weights()
    said = [
        ("conv.weight - torch.Size([2, 1, 1, 1])", TRUNCATED),
        ("conv.bias - torch.Size([2])", TRUNCATED),
        ("head.weight - torch.Size([2, 2])", TRUNCATED),
        ("other.weight - torch.Size([1, 1])", SAME),
        ("other.bias - torch.Size([1])", SAME),
        ("neck.linear.weight - torch.Size([2, 2])", "Initialized by user-defined `init_weights` in Neck  "),
        ("neck.linear.bias - torch.Size([2])", "XavierInit: gain=1, distribution=normal, bias=3 "),
    ]
    lines = "".join(f"\n{name}: \n{what}\n" for name, what in said)
    assert log.read_text() == "Name of parameter - Initialization information\n" + lines


def test_what_a_wrapper_holds_has_its_line_under_the_wrappers_name(log: Path):
    rule = dict(type="Constant", layer="Linear", val=2)
    inner = mmengine.Sequential(nn.DataParallel(nn.Linear(1, 1)), init_cfg=rule)
    mmengine.Sequential(nn.DataParallel(inner)).init_weights()
    said = "ConstantInit: val=2, bias=0 "
    names = ("0.module.0.module.weight - torch.Size([1, 1])", "0.module.0.module.bias - torch.Size([1])")
    lines = "".join(f"\n{name}: \n{said}\n" for name in names)
    assert log.read_text() == "Name of parameter - Initialization information\n" + lines


def test_without_a_file_the_logger_says_it(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "mmengine.logging", raising=False)
    caplog.set_level(logging.INFO, "mmengine")
    mmengine.Sequential(nn.Linear(1, 1), init_cfg=dict(type="Constant", layer="Linear", val=2)).init_weights()
    assert [record.message for record in caplog.records] == [
        "\n0.weight - torch.Size([1, 1]): \nConstantInit: val=2, bias=0 \n ",
        "\n0.bias - torch.Size([1]): \nConstantInit: val=2, bias=0 \n ",
    ]


def test_the_first_rank_writes(log: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    from initcfg._api.original_log import write_original_log

    model = nn.Linear(1, 1)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: False)
    ledger = initcfg.init_weights(model, dict(type="Constant", layer="Linear", val=1))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    write_original_log(model, ledger)
    assert not log.exists()


def test_natively_nothing_is_written(log: Path):
    initcfg.Sequential(nn.Linear(1, 1), init_cfg=dict(type="Constant", layer="Linear", val=2)).init_weights()
    assert not log.exists()


def test_a_checkpoint_is_named(log: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "mmengine")
    file = tmp_path / "weights.pth"
    torch.save({"0.weight": torch.ones(1, 1), "0.bias": torch.ones(1)}, file)
    model = mmengine.Sequential(nn.Linear(1, 1), init_cfg=dict(type="Pretrained", checkpoint=str(file)))
    model.init_weights()
    assert [record.message for record in caplog.records] == [f"load model from: {file}"]
    assert log.read_text().count(f"\nPretrainedInit: load from {file} \n") == 2
