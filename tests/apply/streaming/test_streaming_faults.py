"""What goes wrong while streaming: kills, full disks, stale leftovers; what is half-written is no whole."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from streaming_models import all_bits, stored
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg._apply.streaming import folder as folders
from initcfg._apply.streaming import writer as writers
from initcfg._checkpoints.formats import UNFINISHED, open_path
from initcfg._config.files.atomic import output_error
from initcfg.errors import CheckpointError, OutputError

# Of 8 linear layers, each in a shard of its own.
SIZE = "1030"


def model() -> nn.Module:
    with initcfg.deferred():
        return nn.Sequential(*(nn.Linear(15, 16) for _ in range(8)))


def save(folder: Path, std: float = 1.0, **options) -> initcfg.Ledger:
    made = model()
    plan = initcfg.plan(made, dict(type="Normal", layer="Linear", std=std))
    return plan.save_weights(folder, made, **{"shard_size": SIZE, "seed": 0, **options})


@pytest.fixture
def whole(tmp_path) -> dict:
    """What the checkpoint must hold."""
    save(tmp_path / "reference")
    return all_bits(stored(tmp_path / "reference"))


def shards(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("model-*.safetensors"))


def failing(monkeypatch, after: int, error: Exception) -> None:
    """Let the writer fail when so many shards are whole."""
    finish = writers.Writer._finish
    count = [0]

    def patched(self, shard):
        if count[0] >= after:
            raise error
        count[0] += 1
        finish(self, shard)

    monkeypatch.setattr(writers.Writer, "_finish", patched)


def interrupted(folder: Path, monkeypatch, after: int = 3) -> None:
    with monkeypatch.context() as patch:
        failing(patch, after, output_error(folder, OSError(28, "No space left on device")))
        with pytest.raises(OutputError, match="No space left on device"):
            save(folder)


def test_what_was_interrupted_is_not_taken_for_whole_and_goes_on(tmp_path, monkeypatch, whole):
    out = tmp_path / "out"
    interrupted(out, monkeypatch)
    assert shards(out) == [f"model-0000{number}-of-00008.safetensors" for number in (1, 2, 3)]
    assert sorted(each.name for each in out.iterdir() if each.name.startswith(".")) == [UNFINISHED]
    with pytest.raises(CheckpointError, match="is not whole"):
        open_path(out)
    before = {name: (out / name).stat().st_mtime_ns for name in shards(out)}
    # Without a seed it is that of what was begun.
    ledger = save(out, seed=None)
    assert ledger.seed == 0
    assert all_bits(stored(out)) == whole
    assert all((out / name).stat().st_mtime_ns == when for name, when in before.items())
    assert not (out / UNFINISHED).exists()


def test_a_damaged_or_foreign_shard_is_made_again(tmp_path, monkeypatch, whole):
    out = tmp_path / "out"
    interrupted(out, monkeypatch)
    first, second, third = (out / name for name in shards(out))
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(b"x" * len(second.read_bytes()))
    shutil.copy(third, out / ".model-00004-of-00008.safetensors.partial")
    save(out)
    assert all_bits(stored(out)) == whole
    assert not [each.name for each in out.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(seed=1), "seed 0 instead of 1"),
        (dict(std=2.0), "another plan"),
        (dict(dtype="bfloat16"), "another plan"),
        (dict(shard_size="3100"), "another division into files"),
        (dict(format="dcp", shard_size=None), "format safetensors instead of dcp"),
    ],
)
def test_a_stale_partial_is_an_error_that_says_what_differs(tmp_path, monkeypatch, options, message):
    out = tmp_path / "out"
    interrupted(out, monkeypatch)
    before = sorted(os.listdir(out))
    with pytest.raises(OutputError, match=message) as caught:
        save(out, **options)
    assert "--overwrite" in caught.value.fix
    assert sorted(os.listdir(out)) == before
    save(out, **options, overwrite=True)
    with open_path(out) as reader:
        assert len(list(reader.keys())) == 16
    assert not (out / UNFINISHED).exists()


def test_a_note_that_cannot_be_read_is_no_reason_to_go_on(tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(out, monkeypatch)
    (out / UNFINISHED).write_text("{")
    with pytest.raises(OutputError, match="its note cannot be read"):
        save(out)
    save(out, overwrite=True)


def test_a_complete_checkpoint_is_left_alone(tmp_path, whole):
    out = tmp_path / "reference"
    before = {each.name: each.stat().st_mtime_ns for each in out.iterdir()}
    assert save(out).seed == 0
    assert save(out, seed=None).seed == 0
    assert {each.name: each.stat().st_mtime_ns for each in out.iterdir()} == before
    for options, message in (
        (dict(seed=1), "seed 0 instead of 1"),
        (dict(std=2.0), "another plan"),
        (dict(shard_size="3100"), "its files differ"),
    ):
        with pytest.raises(OutputError, match=message):
            save(out, **options)
    assert all_bits(stored(out)) == whole


def test_a_complete_checkpoint_that_lost_a_file_gets_it_back(tmp_path, whole):
    out = tmp_path / "reference"
    lost, *kept = out / shards(out)[2], out / shards(out)[0], out / shards(out)[1]
    lost.unlink()
    before = [each.stat().st_ino for each in kept]
    save(out)
    assert all_bits(stored(out)) == whole
    assert [each.stat().st_ino for each in kept] == before


def test_overwriting_removes_what_was_there_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    save(out)
    (out / "config.json").write_text("{}")
    (out / "tokenizer.json").write_text("{}")
    save(out, shard_size="1MB", overwrite=True, seed=5)
    names = ["config.json", "model.ledger.json", "model.safetensors", "tokenizer.json"]
    assert sorted(os.listdir(out)) == names
    save(out, format="dcp", shard_size=None, overwrite=True, seed=5)
    names = [".metadata", "__0_0.distcp", "config.json", "model.ledger.json", "tokenizer.json"]
    assert sorted(os.listdir(out)) == names


def test_somebody_elses_weights_are_not_mixed_with_ours(tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"theirs")
    with pytest.raises(OutputError, match="holds another checkpoint already"):
        save(tmp_path)
    assert (tmp_path / "model-00001-of-00002.safetensors").read_bytes() == b"theirs"


def test_a_shard_without_its_index_is_no_checkpoint(tmp_path, whole):
    out = tmp_path / "reference"
    for name in [*shards(out)[1:], "model.safetensors.index.json"]:
        (out / name).unlink()
    with pytest.raises(CheckpointError, match="neither an index nor the other shards"):
        open_path(out)
    # The file itself can be had.
    with open_path(out / shards(out)[0]) as reader:
        assert sorted(reader.keys()) == ["0.bias", "0.weight"]


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="Another process is writing"):
            save(tmp_path)
    finally:
        os.close(handle)
    save(tmp_path)


def test_too_little_room_is_said_before_the_first_byte(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage._replace(free=5000))
    for options in ({}, dict(format="dcp", shard_size=None)):
        with pytest.raises(OutputError, match=r"needs .* kB, but only 5.0 kB are free"):
            save(tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()


def test_an_error_while_making_numbers_ends_the_threads_and_leaves_nothing(tmp_path, monkeypatch):
    def broken(self, into, item, piece):
        raise CheckpointError("damaged there")

    monkeypatch.setattr("initcfg._apply.streaming.making.Maker.put", broken)
    with pytest.raises(CheckpointError, match="damaged there"):
        save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match="damaged there"):
        save(tmp_path / "out", format="dcp", shard_size=None)
    assert not (tmp_path / "out").exists()


# -- the command, in processes of its own --------------------------------------------------------

CONFIG = "model = dict(type='torch.nn.TransformerEncoderLayer', d_model=256, nhead=2, dim_feedforward=2048)\n"
# A transformer of 5 MB: small buffers and shards, so that there is a middle to be killed in.
SLOW = """
import sys, time
import initcfg._apply.streaming.writer as writer
finish = writer.Writer._finish
def slow(self, shard):
    finish(self, shard)
    print("finished", file=sys.__stdout__, flush=True)
    time.sleep(0.3)
writer.Writer._finish = slow
from initcfg._api.command.cli import main
main(sys.argv[1:], prog_name="initcfg")
"""


def words(out: Path, *more: str) -> list[str]:
    return ["init", "net.py", "-o", str(out), "--shard-size", "600kB", "--seed", "3", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "INITCFG_STREAM_BUFFER": "100000"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a config, which is the current one."""
    (tmp_path / "net.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", "100000")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="initcfg")


def test_kill_minus_nine_in_the_middle_then_the_same_command(here):
    out = here / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words(out)], cwd=here, env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"finished\n"
    assert process.stdout.readline() == b"finished\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    there = shards(out)
    assert len(there) >= 2
    assert not (out / "model.safetensors.index.json").exists()
    with pytest.raises(CheckpointError, match="is not whole"):
        open_path(out)
    done = run(*words(out, "--json"))
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [file["name"] for file in found["files"] if file["kept"]] == there
    assert found["written"] == sum(file["size"] for file in found["files"] if not file["kept"])
    assert run(*words(here / "other")).exit_code == 0
    assert all_bits(stored(out)) == all_bits(stored(here / "other"))
    assert sorted(os.listdir(out)) == sorted(os.listdir(here / "other"))


def one_message(done: Result, *parts: str) -> None:
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


BOTH = pytest.mark.parametrize("more", [("--shard-size", "600kB"), ("--format", "dcp")])


@BOTH
def test_a_file_that_may_not_grow(here, more):
    """RLIMIT_FSIZE: writing fails in the middle of a file."""
    arguments = ["init", "net.py", "-o", "out", "--seed", "3", *more]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        done = run(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_message(done, "cannot be written: File too large")
    assert not (here / "out").exists()
    assert run(*arguments).exit_code == 0


def test_more_shards_than_files_that_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "_MOST_OPEN", 4)
    made = nn.Sequential(*(nn.Linear(15, 16) for _ in range(80)))
    plan = initcfg.plan(made, dict(type="Normal", layer="Linear", std=1.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 24, hard))
    try:
        plan.save_weights(tmp_path / "out", made, shard_size=SIZE, seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    plan.apply(made, seed=0)
    assert len(shards(tmp_path / "out")) == 80
    assert all_bits(stored(tmp_path / "out")) == all_bits(made.state_dict())


@contextlib.contextmanager
def mounted(folder: Path, options: str):
    """A small file system of its own; only root can have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield
    finally:
        for _ in range(20):
            if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)


@BOTH
def test_a_full_disk(here, monkeypatch, more):
    arguments = ["init", "net.py", "-o", "disk/out", "--seed", "3", *more]
    with mounted(here / "disk", "size=3m"):
        # Seen before the first byte,
        one_message(run(*arguments), "needs 5.", "are free", "Make room")
        assert os.listdir("disk") == []
        # and in the middle, where others fill it meanwhile.
        monkeypatch.setattr(folders.Folder, "_check_room", lambda *_: None)
        one_message(run(*arguments), "cannot be written: No space left on device")
        out = here / "disk" / "out"
        left = sorted(os.listdir(out)) if out.exists() else []
        endings = (".index.json", ".partial", ".metadata", ".distcp")
        assert not [name for name in left if name.endswith(endings)]
        assert bool(left) == ("dcp" not in more)
        if left:
            with pytest.raises(CheckpointError, match="is not whole"):
                open_path(out)


def test_a_read_only_file_system(here):
    with mounted(here / "disk", "ro"):
        for more in ((), ("--format", "dcp")):
            for out in ("disk/", "disk/out"):
                done = run("init", "net.py", "-o", out, "--seed", "3", *more)
                one_message(done, "No permission to write in 'disk'")
                assert os.listdir("disk") == []


@pytest.mark.parametrize("finished", [False, True])
def test_a_flipped_byte_is_found_and_its_file_written_anew(tmp_path, monkeypatch, whole, finished):
    out = tmp_path / "out"
    if finished:
        save(out)
    else:
        interrupted(out, monkeypatch)
    sound = {name: (out / name).read_bytes() for name in shards(out)}
    damaged = out / shards(out)[1]
    damaged.write_bytes(
        sound[damaged.name][:-9] + bytes([sound[damaged.name][-9] ^ 1]) + sound[damaged.name][-8:]
    )
    before = {name: (out / name).stat().st_mtime_ns for name in sound}
    # Unread, it passes.
    if finished:
        save(out, seed=None, checked=False)
        assert damaged.stat().st_mtime_ns == before[damaged.name]
    save(out, seed=None)
    assert all_bits(stored(out)) == whole
    assert {name: (out / name).read_bytes() for name in sound} == sound
    written = [name for name, when in before.items() if (out / name).stat().st_mtime_ns != when]
    assert written == [damaged.name]


@pytest.mark.parametrize("size", ["1030", "1GB"])
@pytest.mark.parametrize("left", [None, 0, 4, 300, -1])
def test_what_is_gone_or_cut_off_in_a_finished_checkpoint_is_written_anew(tmp_path, whole, left, size):
    out = tmp_path / "out"
    save(out, shard_size=size)
    before = {each.name: each.read_bytes() for each in out.iterdir() if each.name != "model.ledger.json"}
    damaged = sorted(out.glob("*.safetensors"))[0]
    if left is None:
        damaged.unlink()
    else:
        damaged.write_bytes(before[damaged.name][:left])
    save(out, seed=None, shard_size=size)
    assert all_bits(stored(out)) == whole
    assert {name: (out / name).read_bytes() for name in before} == before


def test_an_index_that_is_gone_is_written_anew(tmp_path, whole):
    save(tmp_path / "out")
    (tmp_path / "out/model.safetensors.index.json").unlink()
    save(tmp_path / "out", seed=None)
    assert all_bits(stored(tmp_path / "out")) == whole


def test_a_file_that_is_gone_from_a_distributed_checkpoint(tmp_path, whole):
    save(tmp_path / "out", format="dcp", shard_size=None)
    next((tmp_path / "out").glob("*.distcp")).unlink()
    save(tmp_path / "out", seed=None, format="dcp", shard_size=None)
    with open_path(tmp_path / "out") as reader:
        assert all_bits({key: reader.read(key) for key in list(reader.keys())}) == whole


def test_weights_that_were_saved_over_a_file_are_not_touched(tmp_path):
    save(tmp_path / "out", shard_size="1GB")
    weights = tmp_path / "out/model.safetensors"
    save_file({key: torch.zeros_like(each) for key, each in load_file(weights).items()}, weights)
    before = weights.read_bytes()
    with pytest.raises(OutputError, match="its files differ"):
        save(tmp_path / "out", seed=None, shard_size="1GB")
    assert weights.read_bytes() == before
