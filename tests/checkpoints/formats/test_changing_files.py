"""Files that change while they are read, that are no files, and more of them than may be open."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._checkpoints.formats import open_files, open_path
from initcfg.errors import CheckpointError, CheckpointNotFoundError, InitcfgError

LONG = 300_000
STATE = {"a": torch.arange(float(LONG)), "b": torch.arange(12.0).view(3, 4), "c": torch.ones(LONG).neg()}


def _indexed(path: Path) -> None:
    save_file({"a": STATE["a"]}, path.with_name("one"))
    save_file({"b": STATE["b"], "c": STATE["c"]}, path.with_name("two"))
    path.write_text(json.dumps({"weight_map": {"a": "one", "b": "two", "c": "two"}}))


def _npz(path: Path, save: Callable[..., None]) -> None:
    with path.open("wb") as file:
        save(file, **{key: each.numpy() for key, each in STATE.items()})


WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: save_file(STATE, path),
    "torch": lambda path: torch.save(STATE, path),
    "older torch": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "npz": lambda path: _npz(path, np.savez),
    "packed npz": lambda path: _npz(path, np.savez_compressed),
    "index": _indexed,
}


def _become_shorter(path: Path) -> None:
    os.truncate(path, 1000)


def _be_overwritten(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))
    # The clock of a file system may be slow.
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("target", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("change", [_become_shorter, _be_overwritten])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_changes_while_it_is_read(tmp_path, kind, change, target):
    path = tmp_path / "weights"
    WRITERS[kind](path)
    with open_path(path) as reader:
        first = torch.empty(LONG, dtype=target)
        reader.tensors["c"].read_into(first, (0,))
        assert torch.equal(first, STATE["c"].to(target))
        change(tmp_path / "two" if kind == "index" else path)
        with pytest.raises(CheckpointError, match=r"changed while it was read: it (became sh|was wr)"):
            reader.tensors["c"].read_into(torch.empty(LONG, dtype=target), (0,))
        with pytest.raises(CheckpointError, match="changed while it was read"):
            reader.read("c")
    # What was read before is in memory of its own.
    assert torch.equal(first, STATE["c"].to(target))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_file_that_changes_while_a_plan_is_carried_out(tmp_path, kind, threads, monkeypatch):
    monkeypatch.setenv("INITCFG_THREADS", threads)
    path = tmp_path / "weights"
    WRITERS[kind](path)
    model = nn.ParameterDict({key: nn.Parameter(torch.zeros_like(each)) for key, each in STATE.items()})
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": str(path)})
    from initcfg._apply.planned_checkpoints import PlannedCheckpoints

    load, left, lock = PlannedCheckpoints._load, ["first"], threading.Lock()

    def loading(self, *args):
        with lock:
            return loading_alone(self, *args)

    def loading_alone(self, *args):
        found = load(self, *args)
        if left:
            left.clear()
            for name in ("weights", "one", "two"):
                if (tmp_path / name).exists() and not (kind == "index" and name == "weights"):
                    os.truncate(tmp_path / name, 100)
        return found

    monkeypatch.setattr(PlannedCheckpoints, "_load", loading)
    with pytest.raises(CheckpointError, match=r"changed while it was read|is damaged"):
        plan.apply(model, seed=0)
    with pytest.raises(InitcfgError, match=r"failed half-way: [12] tensors? had been written"):
        model["a"].sum() + model["b"].sum() + model["c"].sum() + nn.Module.__call__(model)


def test_a_shard_that_another_takes_the_place_of(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    WRITERS["index"](path)
    monkeypatch.setattr(open_files, "_MOST_OPEN", 1)
    with open_path(path) as reader:
        assert torch.equal(reader.read("c"), STATE["c"])
        save_file({"b": STATE["b"] + 1, "c": STATE["c"] + 1}, tmp_path / "new")
        # The other shard is opened, and this one closed.
        assert torch.equal(reader.read("a"), STATE["a"])
        os.replace(tmp_path / "new", tmp_path / "two")
        with pytest.raises(CheckpointError, match="changed while it was read: another took its place"):
            reader.read("c")
        for become in (os.unlink, os.mkfifo, os.unlink, os.mkdir):
            become(tmp_path / "two")
            with pytest.raises(CheckpointError, match=r"cannot be read|changed"):
                reader.read("c")


# -- what is no file -----------------------------------------------------------------------------


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # Its path may be 100 characters long.
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _socket, _device])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    path = tmp_path / "weights.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        open_path(path)
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        initcfg.init_weights(nn.Linear(2, 2), {"type": "Pretrained", "checkpoint": str(path)}, seed=0)
    index = tmp_path / "x.index.json"
    index.write_text(json.dumps({"weight_map": {"weight": path.name}}))
    with pytest.raises(CheckpointNotFoundError, match="lacks 1 of 1 shard"):
        open_path(index)


@pytest.mark.parametrize("make", [_fifo, _socket, _device])
def test_a_file_that_becomes_a_pipe_before_it_is_opened(tmp_path, make, monkeypatch):
    path = tmp_path / "weights"
    save_file(STATE, path)
    regular = os.stat(path)
    path.unlink()
    make(path)
    # As if it had been a file a moment before.
    monkeypatch.setattr(open_files.os, "stat", lambda path: regular)
    with pytest.raises(OSError, match=r"neither a file nor a folder|No such device"):
        open_files.open_regular(path)


# -- many files ----------------------------------------------------------------------------------


@pytest.fixture
def few_handles() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (there + 24, hard))
    yield there
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_shards_than_may_be_open(tmp_path, few_handles):
    count = 200
    for number in range(count):
        save_file({f"t{number}": torch.full((2,), float(number))}, tmp_path / f"s{number}")
    weight_map = {f"t{number}": f"s{number}" for number in range(count)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    model = nn.ParameterDict({key: nn.Parameter(torch.zeros(2)) for key in weight_map})
    initcfg.init_weights(model, {"type": "Pretrained", "checkpoint": str(tmp_path)}, seed=0)
    assert [model[f"t{number}"].tolist() for number in range(count)] == [[float(n)] * 2 for n in range(count)]
    assert len(os.listdir("/proc/self/fd")) <= few_handles + 1


def test_handles_that_others_used_up(tmp_path, few_handles):
    for number in range(8):
        save_file({"t": torch.full((2,), float(number))}, tmp_path / f"s{number}")
    readers = [open_path(tmp_path / f"s{number}") for number in range(8)]
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        # The ones that were opened before are closed, and opened again.
        assert open_path(tmp_path / "s0").read("t").tolist() == [0.0, 0.0]
        assert [reader.read("t").tolist() for reader in readers] == [[float(n)] * 2 for n in range(8)]
    finally:
        for each in taken:
            os.close(each)
        for reader in readers:
            reader.close()
