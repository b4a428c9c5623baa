"""Folders of torch.distributed.checkpoint, and several ranks that write one checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import streaming_ranks
import torch
import torch.distributed.checkpoint as dcp
from processes import run_ranks, values_of
from streaming_models import RULES, all_bits, applied, pending, stored
from torch import nn

import initcfg
from initcfg._apply.streaming import dcp_writer
from initcfg._checkpoints.formats import UNFINISHED, open_path
from initcfg.errors import OutputError

pytestmark = pytest.mark.filterwarnings("ignore:.*assuming the intent is to load in a single process")


def save(folder, **options) -> initcfg.Ledger:
    model = pending()
    return initcfg.plan(model, RULES).save_weights(folder, model, **{"seed": 7, "format": "dcp", **options})


@pytest.fixture(scope="module")
def wanted() -> dict:
    return all_bits(applied(7)[0].state_dict())


def loaded(folder, key: str | None = None) -> dict:
    """What ``dcp.load`` reads into a model with other numbers."""
    model = pending()
    initcfg.plan(model, dict(type="Constant", layer=["Linear", "Conv2d"], val=1)).apply(model, seed=0)
    state = model.state_dict()
    dcp.load(state if key is None else {key: state}, checkpoint_id=folder)
    return all_bits(state)


@pytest.mark.parametrize("buffer", [None, "1100"])
@pytest.mark.parametrize("key", [None, "model"])
def test_dcp_load_reads_it(tmp_path, monkeypatch, buffer, key, wanted):
    if buffer is not None:
        monkeypatch.setenv("INITCFG_STREAM_BUFFER", buffer)
    ledger = save(tmp_path / "out", dcp_key=key)
    assert ledger == applied(7)[1]
    # Tied tensors under each of their names, as PyTorch's own checkpoints have them.
    assert loaded(tmp_path / "out", key) == wanted
    assert sorted(os.listdir(tmp_path / "out")) == [".metadata", "__0_0.distcp", "model.ledger.json"]
    with open_path(tmp_path / "out") as reader:
        assert {key: reader.read(key).clone() for key in reader.keys()}.keys() == wanted.keys()  # noqa: SIM118
        assert reader.wrapping == (() if key is None else (key,))


def test_complete_or_another(tmp_path):
    save(tmp_path)
    before = {each.name: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    assert save(tmp_path, seed=None).seed == 7
    assert {each.name: each.stat().st_mtime_ns for each in tmp_path.iterdir()} == before
    for options in (dict(seed=8), dict(dcp_key=None, format="safetensors"), dict(dtype="bfloat16")):
        with pytest.raises(OutputError, match="holds another checkpoint already"):
            save(tmp_path, **options)


def test_chunks_are_made_one_ahead_and_their_memory_is_taken_back(tmp_path, monkeypatch):
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", str(1 << 13))
    alive: list[torch.UntypedStorage] = []
    make = dcp_writer._made

    def noted(maker, chunk, storages):
        made = make(maker, chunk, storages)
        alive.append(made.untyped_storage())
        return made

    monkeypatch.setattr(dcp_writer, "_made", noted)
    with initcfg.deferred():
        model = nn.Sequential(*(nn.Linear(256, 256, bias=False) for _ in range(16)))
    initcfg.plan(model).save_weights(tmp_path, model, seed=0, format="dcp")
    # 16 tensors in 2 chunks each, in two storages.
    assert len(alive) == 32
    assert len({storage._cdata for storage in alive}) == 2


def test_a_kill_leaves_no_checkpoint_and_it_is_begun_again(tmp_path, monkeypatch, wanted):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("initcfg._apply.streaming.folder.Folder.give_up", lambda *_, **__: None)
        patch.setattr(
            dcp_writer._Planner, "resolve_data", lambda *_: (_ for _ in ()).throw(OutputError("killed"))
        )
        with pytest.raises(OutputError, match="killed"):
            save(out)
    # As after SIGKILL: nothing was cleared away.
    assert (out / UNFINISHED).exists()
    assert not (out / ".metadata").exists()
    save(out)
    assert loaded(out) == wanted
    assert not (out / UNFINISHED).exists()


# -- several ranks -------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_write_the_files_of_one_process(tmp_path, world):
    save(tmp_path / "alone", format="safetensors", shard_size="2kB")
    results = values_of(run_ranks(world, _saving, str(tmp_path / "out"), "safetensors", timeout=100))
    ledger = initcfg.Ledger.load(tmp_path / "alone" / "model.ledger.json")
    assert all(initcfg.Ledger.from_json(each["ledger"]) == ledger for each in results)
    names = sorted(os.listdir(tmp_path / "alone"))
    assert sorted(os.listdir(tmp_path / "out")) == names
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    # No tensor was made twice.
    made = [key for each in results for key in each["made"]]
    assert len(made) == len(set(made))
    assert all(each["made"] for each in results)


def _saving(rank: int, world: int, folder: str, file_format: str, different: dict | None = None) -> dict:
    size = "2kB" if file_format == "safetensors" else None
    return streaming_ranks.save(rank, world, folder, different, format=file_format, shard_size=size)


def test_ranks_write_one_dcp_folder_that_any_layout_reads(tmp_path, wanted):
    values_of(run_ranks(2, _saving, str(tmp_path / "out"), "dcp", timeout=100))
    assert sorted(each.name for each in (tmp_path / "out").glob("*.distcp")) == [
        "__0_0.distcp",
        "__1_0.distcp",
    ]
    assert loaded(tmp_path / "out") == wanted
    assert values_of(run_ranks(2, streaming_ranks.load, str(tmp_path / "out"), timeout=100)) == [True, True]


@pytest.mark.parametrize(
    ("different", "message"),
    [
        (dict(seed=8), "seed"),
        (dict(plan=True), "plan"),
        (dict(dtype="bfloat16"), "plan"),
    ],
)
def test_ranks_that_differ_write_nothing(tmp_path, different, message):
    out = tmp_path / "out"
    results = run_ranks(2, _saving, str(out), "safetensors", {"rank": 1, **different}, timeout=100)
    assert [each.error for each in results] == ["AgreementError"] * 2
    assert all(message in each.text for each in results)
    assert not out.exists()


@pytest.mark.parametrize("fault", ["fails", "dies"])
def test_a_rank_that_fails_makes_all_fail_and_they_go_on_together(tmp_path, fault):
    out = tmp_path / "out"
    results = run_ranks(2, _saving, str(out), "safetensors", {"rank": 1, fault: True}, timeout=100)
    assert results[0].error == "AgreementError", results[0].trace
    if fault == "fails":
        assert "No space left on device" in results[0].text
        assert results[1].error == "OutputError"
    else:
        assert results[1].died
    assert not (out / "model.safetensors.index.json").exists()
    assert not list(out.glob(".*.partial"))
    assert (out / UNFINISHED).exists()
    values_of(run_ranks(2, _saving, str(out), "safetensors", timeout=100))
    reference, _ = applied(7)
    found = reference.state_dict()
    del found["head.weight"]
    assert all_bits(stored(out)) == all_bits(found)


def test_torchrun(tmp_path):
    """The command, as it is started by PyTorch: one table, one message, one code."""
    (tmp_path / "net.py").write_text(
        "model = dict(type='torch.nn.Transformer', d_model=16, nhead=2, batch_first=True)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "initcfg"]
    command += ["init", "net.py", "-o", "out", "--shard-size", "100kB"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], check=False, capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    done = run("--json")
    assert done.returncode == 0, done.stderr
    seed = json.loads(done.stdout)["seed"]
    assert initcfg.Ledger.load(tmp_path / "out" / "model.ledger.json").seed == seed
    with initcfg.deferred():
        model = nn.Transformer(d_model=16, nhead=2, batch_first=True)
    initcfg.plan(model).apply(model, seed=seed)
    assert all_bits(stored(tmp_path / "out")) == all_bits(model.state_dict())
    done = run("--seed", str(seed ^ 1))
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 1
    assert "holds another checkpoint already" in done.stderr
