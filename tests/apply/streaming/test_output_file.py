"""Files past the system's own copy: the same bytes, whether it lets us or not; and how many threads."""

from __future__ import annotations

import errno
import hashlib
import os
import threading

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initcfg
from initcfg._api.command.cli import main
from initcfg._apply.streaming import output_file
from initcfg._apply.streaming import writer as writers
from initcfg._apply.streaming.output_file import ALIGNMENT, OutputFile, aligned_memory
from initcfg._stream.writing import limited_threads, thread_count, threads_for
from initcfg.errors import ArgumentError, OutputError

BLOCK = ALIGNMENT


def written(path, *, direct: bool) -> tuple[bytes, bool]:
    """A file of two stretches and a half, whose second is written first, and a few bytes changed at last."""
    memory = aligned_memory(3 * BLOCK)
    memory[:] = torch.arange(3 * BLOCK) % 251
    data = memory.numpy().data
    file = OutputFile(path, direct=direct)
    file.write(data[BLOCK : 2 * BLOCK + 100], BLOCK)
    file.write(data[:BLOCK], 0)
    file.write(memoryview(b"digest"), 10)
    file.sync()
    still = file.direct
    file.close()
    file.close()
    file.sync()
    return path.read_bytes(), still


EXPECTED = bytes(number % 251 for number in range(2 * BLOCK + 100))
EXPECTED = EXPECTED[:10] + b"digest" + EXPECTED[16:]


def test_the_bytes_are_the_same(tmp_path):
    assert written(tmp_path / "plain", direct=False) == (EXPECTED, False)
    # Whether this file system lets it, only it knows.
    assert written(tmp_path / "direct", direct=True)[0] == EXPECTED


def test_memory_is_aligned():
    assert [aligned_memory(size).data_ptr() % BLOCK for size in (1, 5000, 1 << 20)] == [0, 0, 0]


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="no system to refuse anything")
@pytest.mark.parametrize("where", ["open", "pwrite"])
def test_a_system_that_refuses_gets_the_usual_writes(tmp_path, monkeypatch, where):
    plain, directly = getattr(os, where), os.open
    handles: set[int] = set()

    def opened(path, flags, *mode):
        if where == "open" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "not here")
        handle = directly(path, flags & ~os.O_DIRECT, *mode)
        if flags & os.O_DIRECT:
            handles.add(handle)
        return handle

    def refused(handle, *rest):
        if handle in handles:
            raise OSError(errno.EINVAL, "not here either")
        return plain(handle, *rest)

    monkeypatch.setattr(output_file.os, "open", opened)
    if where == "pwrite":
        monkeypatch.setattr(output_file.os, "pwrite", refused)
    assert written(tmp_path / "file", direct=True) == (EXPECTED, False)
    assert len(handles) == (where == "pwrite")


def test_another_error_of_a_direct_write_stays_one(tmp_path, monkeypatch):
    file = OutputFile(tmp_path / "file", direct=True)
    if not file.direct:
        pytest.skip("this file system does not write directly")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output_file.os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(aligned_memory(BLOCK).numpy().data, 0)
    file.close()


# -- whole checkpoints ---------------------------------------------------------------------------


def model() -> nn.Module:
    with initcfg.deferred():
        made = nn.Sequential(nn.Linear(301, 1001), nn.Linear(1001, 7), nn.LayerNorm(7)).to(torch.bfloat16)
        return made.append(nn.Linear(77, 33))


def files(folder, **options) -> dict[str, str]:
    """The digests of the files of a checkpoint."""
    made = model()
    plan = initcfg.plan(made, dict(type="Normal", layer="Linear", std=1.0))
    plan.save_weights(folder, made, seed=5, **options)
    found = (each for each in folder.iterdir() if each.suffix == ".safetensors")
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in found}


@pytest.mark.parametrize("size", [None, "100kB"])
@pytest.mark.parametrize("buffer", ["8192", "20000", "1000000"])
def test_direct_writes_give_the_same_files(tmp_path, monkeypatch, buffer, size):
    expected = files(tmp_path / "plain", shard_size=size)
    directly: list[int] = []
    monkeypatch.setattr(writers, "_DIRECT_FILE", 0)
    monkeypatch.setattr(writers, "_DIRECT_BUFFER", 0)
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", buffer)
    write = OutputFile.write

    def noted(self, data, place):
        directly.append(place % BLOCK)
        write(self, data, place)

    monkeypatch.setattr(OutputFile, "write", noted)
    assert files(tmp_path / "direct", shard_size=size) == expected
    # All stretches begin at a block of the disk; the digests do not.
    assert directly.count(0) >= len(directly) - len(expected)


@pytest.mark.parametrize("threads", [1, 2, 5, -1, -1])
def test_threads_change_no_byte(tmp_path, monkeypatch, threads):
    expected = files(tmp_path / "all", shard_size="100kB")
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", "20000")
    before = torch.get_num_threads(), thread_count()
    assert files(tmp_path / "some", shard_size="100kB", threads=threads) == expected
    assert (torch.get_num_threads(), thread_count()) == before


def test_how_many_threads(monkeypatch):
    monkeypatch.setenv("INITCFG_THREADS", "7")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert (threads_for(-1), threads_for(-cores), threads_for(9)) == (max(1, cores - 1), 1, 9)
    assert thread_count() == 7
    with limited_threads(3):
        assert (thread_count(), torch.get_num_threads()) == (3, 3)
        with limited_threads(None):
            assert thread_count() == 3
        with limited_threads(1):
            assert thread_count() == 1
        assert thread_count() == 3
    assert thread_count() == 7


def test_one_number_of_threads_does_not_outlive_another():
    before, entered, left = (torch.get_num_threads(), thread_count()), threading.Event(), threading.Event()

    def other() -> None:
        with limited_threads(2):
            entered.set()
            left.wait()
            assert thread_count() == 2

    thread = threading.Thread(target=other)
    with limited_threads(1):
        thread.start()
        entered.wait()
        assert thread_count() == 1
    left.set()
    thread.join()
    found = []
    late = threading.Thread(target=lambda: found.append((torch.get_num_threads(), thread_count())))
    late.start()
    late.join()
    assert found == [before] and (torch.get_num_threads(), thread_count()) == before


@pytest.mark.parametrize("threads", [0, True, 5000, "two"])
def test_no_number_of_threads(tmp_path, threads):
    with pytest.raises(ArgumentError, match="no number of threads"):
        files(tmp_path / "out", threads=threads)
    with pytest.raises(ArgumentError, match="threads is -5000, and this process has"):
        files(tmp_path / "out", threads=-5000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["out", "out.safetensors"])
def test_the_option(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("model = dict(type='torch.nn.Linear', in_features=3, out_features=4)\n")

    def run(*more: str):
        return CliRunner().invoke(main, ["init", "net.py", "-o", output, "--seed", "1", *more])

    refused = run("--threads", "0")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: threads is 0, which is no number of threads.")
    assert not (tmp_path / output).exists()
    assert run("--threads", "-1").exit_code == 0
    found = tmp_path / output if "." in output else tmp_path / output / "model.safetensors"
    assert found.exists()


def test_a_file_that_cannot_be_begun_is_an_error_without_a_remainder(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(writers, "OutputFile", refused)
    with pytest.raises(OutputError, match="Permission denied"):
        files(tmp_path / "out")
    assert not (tmp_path / "out").exists()
