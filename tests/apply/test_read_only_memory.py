"""Parameters over memory that can only be read: refused before a byte is written."""

from __future__ import annotations

import mmap
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import initcfg
from initcfg.errors import TensorError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")

RULE = dict(type="Constant", param="**", val=3.0)
SIZE = 4096


def _file(folder: Path) -> Path:
    path = folder / "numbers"
    np.arange(SIZE, dtype=np.float32).tofile(path)
    return path


def _read_only(folder: Path) -> torch.Tensor:
    return torch.from_numpy(np.memmap(_file(folder), np.float32, "r"))


def _buffer(folder: Path) -> torch.Tensor:
    with open(_file(folder), "rb") as file:
        return torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=torch.float32)


REFUSED: dict[str, Callable[[Path], torch.Tensor]] = {
    "memmap": _read_only,
    "frombuffer": _buffer,
    "view": lambda folder: _read_only(folder)[8:24],
    "last element": lambda folder: _read_only(folder)[-1:],
    "columns": lambda folder: _read_only(folder).view(64, 64).t(),
}


def _safetensors(folder: Path) -> torch.Tensor:
    save_file({"weight": torch.zeros(SIZE)}, folder / "w.safetensors")
    return load_file(folder / "w.safetensors")["weight"]


TAKEN: dict[str, Callable[[Path], torch.Tensor]] = {
    "private copy": lambda folder: torch.from_numpy(np.memmap(_file(folder), np.float32, "c")),
    "written to the file": lambda folder: torch.from_numpy(np.memmap(_file(folder), np.float32, "r+")),
    "safetensors": _safetensors,
    "array": lambda folder: torch.from_numpy(np.zeros(SIZE, np.float32)),
    "shared": lambda folder: torch.zeros(SIZE).share_memory_(),
    "empty": lambda folder: _read_only(folder)[:0],
}


def _made(how: Callable[[Path], torch.Tensor], folder: Path) -> torch.Tensor:
    with warnings.catch_warnings():
        # torch says that the array is not writable.
        warnings.simplefilter("ignore")
        return how(folder)


class OneOverAFile(nn.Module):
    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.table = nn.Module()
        self.table.weight = nn.Parameter(tensor)


@pytest.mark.parametrize("how", REFUSED.values(), ids=REFUSED)
def test_is_refused_before_anything_is_written(how: Callable[[Path], torch.Tensor], tmp_path: Path) -> None:
    model = OneOverAFile(_made(how, tmp_path))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = initcfg.plan(model, RULE)
    for options in ({}, {"atomic": True}, {"rng": "torch"}):
        with pytest.raises(
            TensorError, match=r"'table.weight' cannot be initialized: it lies in memory"
        ) as told:
            plan.apply(model, seed=0, **options)
        assert told.value.fix is not None and "clone()" in told.value.fix
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("how", TAKEN.values(), ids=TAKEN)
def test_other_memory_that_is_not_torchs_is_written(
    how: Callable[[Path], torch.Tensor], tmp_path: Path
) -> None:
    model = OneOverAFile(_made(how, tmp_path))
    initcfg.plan(model, RULE).apply(model, seed=0)
    assert all(bool((tensor == 3).all()) for tensor in model.state_dict().values())


def test_one_that_is_kept_may_lie_there(tmp_path: Path) -> None:
    model = OneOverAFile(_made(_read_only, tmp_path))
    for atomic in (False, True):
        initcfg.plan(model, dict(type="Constant", layer="Linear", val=3.0)).apply(
            model, seed=0, atomic=atomic
        )
    assert model.first.weight.eq(3).all() and model.table.weight[7] == 7


class WithCode(initcfg.BaseModule):
    """Its code puts a tensor over memory that can only be read in place of another, and its rules follow."""

    def __init__(self, put: torch.Tensor, rule: dict[str, object], kept: torch.Tensor) -> None:
        super().__init__(init_cfg=rule)
        self.put = put
        self.kept = nn.Parameter(kept)
        self.first = nn.Linear(2, 2)
        self.table = nn.Parameter(torch.zeros(SIZE))

    def init_weights(self) -> None:
        self.table = nn.Parameter(self.put)
        super().init_weights()


def test_one_that_the_models_code_puts_there_may_be_kept(tmp_path: Path) -> None:
    read_only = _made(_read_only, tmp_path)
    model = WithCode(read_only, dict(type="Constant", layer="Linear", val=3.0), read_only)
    initcfg.plan(model).apply(model, seed=0)
    assert model.first.weight.eq(3).all() and model.table[7] == 7


def test_one_that_the_models_code_puts_there_is_not_written(tmp_path: Path) -> None:
    """Nor does ``atomic`` write to what lay there before, when it puts the model back."""
    read_only = _made(_read_only, tmp_path)
    rule = dict(type="Constant", param="table", val=3.0)
    plan = initcfg.plan(WithCode(torch.ones(SIZE), rule, torch.zeros(SIZE)))
    model = WithCode(read_only, rule, read_only)
    for options in ({"atomic": True}, {}):
        with pytest.raises(
            TensorError, match="'table' cannot be initialized: it lies in memory that can only"
        ):
            plan.apply(model, seed=0, **options)
    assert read_only[7] == 7


def test_functions_for_one_module_refuse_it_too(tmp_path: Path) -> None:
    linear = nn.Linear(64, 64)
    linear.weight = nn.Parameter(_made(_read_only, tmp_path).view(64, 64))
    for fill in (
        lambda: initcfg.constant_init(linear, 1),
        lambda: initcfg.xavier_init(linear),
        lambda: initcfg.trunc_normal_(linear.weight),
    ):
        with pytest.raises(TensorError, match="can only be read"):
            fill()
    assert linear.weight[0, 7] == 7
