"""Hostile and damaged files: an error each, quickly, in little memory, and nothing of them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import hostile
import pytest
import torch
from safetensors.torch import save_file

from initcfg._checkpoints.formats import open_mapping, open_path
from initcfg.errors import CheckpointError, InitcfgError

ATTACKS = sorted(hostile.attacks(Path("trace")))
MALFORMED = sorted(hostile.malformed_pickles())
HEADERS = sorted(hostile.safetensors_headers())
CONTAINERS = {"zip": hostile.archive, "legacy": hostile.legacy}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2], dtype=torch.int16)}


def same(path: Path, state: dict[str, torch.Tensor]) -> bool:
    """Whether a file can be read and holds these tensors; False if it is refused."""
    try:
        with open_path(path) as reader:
            found = {key: reader.read(key) for key in reader.keys()}  # noqa: SIM118
    except CheckpointError as error:
        assert error.fix is not None, "an error says how to fix it"
        return False
    assert list(found) == list(state)
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items())
    return True


def saved(state: dict[str, torch.Tensor], *, old: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(state, out, _use_new_zipfile_serialization=not old)
    return out.getvalue()


# -- code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_runs(tmp_path, attack, container):
    trace = tmp_path / hostile.TRACE
    path = CONTAINERS[container](tmp_path / "a.pth", hostile.attacks(trace)[attack])
    with pytest.raises(CheckpointError) as caught:
        open_path(path)
    assert not trace.exists()
    assert "fix: " in str(caught.value)


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        ("os.system", "posix.system"),
        ("eval", "builtins.eval"),
        ("torch.hub.load", "torch.hub.load"),
        ("getattr of a module", "builtins.__import__"),
        ("getattr chain", "mmengine.logging.history_buffer.HistoryBuffer.__globals__"),
        ("package function", "mmengine.fileio.load"),
    ],
)
def test_what_is_refused_is_named(tmp_path, attack, name):
    path = hostile.archive(tmp_path / "a.pth", hostile.attacks(tmp_path / "trace")[attack])
    with pytest.raises(CheckpointError, match="pickled code is never run") as caught:
        open_path(path, name="mine.pth")
    assert f"it needs {name})" in str(caught.value)
    assert "'mine.pth'" in str(caught.value)


def test_the_attacks_are_attacks(tmp_path):
    """What Python's own machine does with one of them, so that the refusals mean something."""
    trace = tmp_path / hostile.TRACE
    pickle.loads(hostile.attacks(trace)["open"])["attack"].close()
    assert trace.exists()


def test_a_whole_model_is_refused_by_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"it needs torch\.nn\.modules\.linear\.Linear"):
        open_path(tmp_path / "a.pth")


def test_the_metadata_of_a_distributed_checkpoint_runs_nothing(tmp_path):
    trace = tmp_path / hostile.TRACE
    for name, attack in hostile.attacks(trace).items():
        (tmp_path / ".metadata").write_bytes(attack)
        with pytest.raises(CheckpointError):
            open_path(tmp_path)
        assert not trace.exists(), name


# -- pickles that cost or mean nothing -----------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_pickles(tmp_path, name, container):
    path = CONTAINERS[container](tmp_path / "a.pth", hostile.malformed_pickles()[name])
    begin = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            open_path(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6
    assert time.perf_counter() - begin < 20


# -- safetensors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADERS)
def test_safetensors_headers(tmp_path, name):
    header, data, length = hostile.safetensors_headers()[name]
    path = hostile.safetensors(tmp_path / "a.safetensors", header, data, length=length)
    if name == "half a byte":
        # 12 bits are no whole number of bytes.
        assert len(data) == 1
    with pytest.raises(CheckpointError) as caught:
        open_path(path)
    assert caught.value.fix is not None


def test_every_bit_of_a_safetensors_header(tmp_path, state):
    path = tmp_path / "a.safetensors"
    save_file(state, path)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    refused = 0
    for _, changed in hostile.flips(data, range(end)):
        path.write_bytes(changed)
        try:
            with open_path(path) as reader:
                found = [reader.read(key) for key in reader.keys()]  # noqa: SIM118
        except CheckpointError:
            refused += 1
            continue
        # A name may have become another one; a number may not.
        expected = sorted((tuple(each.shape), each.dtype, each.tolist()) for each in state.values())
        assert sorted((tuple(each.shape), each.dtype, each.tolist()) for each in found) == expected
    assert refused > 0.7 * 8 * end


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".old.pth"])
def test_every_truncation(tmp_path, state, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        path.write_bytes(saved(state, old=suffix == ".old.pth"))
    data = path.read_bytes()
    assert same(path, state)
    for length in [*range(0, len(data) - 60, 5), *range(len(data) - 60, len(data))]:
        path.write_bytes(data[:length])
        assert not same(path, state), length


# -- torch's archives ----------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_every_flipped_byte_of_a_torch_file(tmp_path, old):
    """An error, or the tensors; a key, or a number within the data, may have become another."""
    state = {"w": torch.arange(4.0)}
    data, path = saved(state, old=old), tmp_path / "a.pth"
    numbers = data.find(state["w"].numpy().tobytes())
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            with open_path(path) as reader:
                found = [reader.read(key) for key in reader.keys()]  # noqa: SIM118
        except CheckpointError:
            continue
        if not numbers <= position < numbers + 16 and not old:
            assert [each.tolist() for each in found] == [state["w"].tolist()], position


def test_members_twice_and_out_of_the_archive(tmp_path, state):
    path = tmp_path / "a.pth"
    for name, problem in [
        ("archive/data/0", "is there twice"),
        ("archive/../../etc/passwd", "leads out of the archive"),
        ("/etc/passwd", "leads out of the archive"),
        ("archive\\..\\..\\x", "leads out of the archive"),
    ]:
        path.write_bytes(saved(state))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(path, "a") as opened:
                opened.writestr(name.replace("archive/", opened.namelist()[0].split("/")[0] + "/", 1), b"0")
        with pytest.raises(CheckpointError, match=problem):
            open_path(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path, state):
    data = pickle.dumps({"a": "x" * 50_000_000}, 2)
    path = hostile.archive(tmp_path / "a.pth", data, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="compressed or encrypted"):
            open_path(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6
    packed = tmp_path / "b.pth"
    packed.write_bytes(saved(state))
    with zipfile.ZipFile(packed) as opened, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for each in opened.namelist():
            target.writestr(zipfile.ZipInfo(each), opened.read(each), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        open_path(path)


def test_sizes_that_a_pickle_only_claims(tmp_path):
    state = {"a": torch.arange(6.0)}
    good = saved(state)
    with zipfile.ZipFile(io.BytesIO(good)) as opened:
        data = opened.read("archive/data.pkl")
        numbers = opened.read("archive/data/0")
    path = tmp_path / "a.pth"
    assert same(hostile.archive(path, data, {"data/0": numbers}), state)
    for before, after in [
        (b"K\x06\x85", b"K\x07\x85"),  # a longer tensor
        (b"K\x00K\x06", b"K\x05K\x06"),  # a later beginning
        (b"K\x01\x85", b"K\x09\x85"),  # a wider stride
        (b"K\x01\x85", b"J\xff\xff\xff\xff\x85"),  # a negative one
        (b"X\x03\x00\x00\x00cpuq\x06K\x06", b"X\x03\x00\x00\x00cpuq\x06K\x07"),  # a longer storage
        (b"FloatStorage", b"DoubleStorage"),
        (b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),  # another storage
    ]:
        assert before in data
        hostile.archive(path, data.replace(before, after, 1), {"data/0": numbers})
        assert not same(path, state), after
    assert not same(hostile.archive(path, data, {"data/0": numbers[:-1]}), state)
    assert not same(hostile.archive(path, data, {"data/0": numbers, "byteorder": b"middle"}), state)


def test_what_is_no_checkpoint_says_what_it_is(tmp_path):
    path = tmp_path / "a.pth"
    for content, what in [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"GGUF\3\0\0\0", "GGUF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"not a checkpoint", "neither safetensors nor"),
        (b"PK\x03\x04 broken", "not a whole zip archive"),
        (b"PK\x05\x06" + bytes(18), "empty zip archive"),
        (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
        (bytes(257) + b"ustar", "tar archive"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=what):
            open_path(path)


@pytest.mark.parametrize("name", ["gpt.yaml", "rules.toml", "model.py"])
def test_a_config_is_no_checkpoint(tmp_path, name):
    path = tmp_path / name
    path.write_text("a: 1\n")
    with pytest.raises(CheckpointError, match="is a config, by its name") as told:
        open_path(path)
    assert told.value.fix == "initcfg plan shows what a config does."


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as opened:
        opened.writestr("weights.pth", b"x")
    with pytest.raises(CheckpointError, match=r"has no data\.pkl"):
        open_path(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as opened:
        opened.writestr("a.npy", b"x")
    with pytest.raises(CheckpointError, match="NumPy"):
        open_path(tmp_path / "a.pth")


# -- several files -------------------------------------------------------------------------------


def test_an_index_stays_in_its_folder(tmp_path, state):
    inside = tmp_path / "inside"
    inside.mkdir()
    save_file(state, tmp_path / "secret.safetensors")
    index = inside / "model.safetensors.index.json"
    for name in (
        "../secret.safetensors",
        str(tmp_path / "secret.safetensors"),
        "a/../../secret.safetensors",
        "",
    ):
        index.write_text(json.dumps({"weight_map": {"b": name}}))
        with pytest.raises(CheckpointError, match="which is not in its folder"):
            open_path(inside)
    for content in (
        '{"weight_map": {"a": 1}}',
        '{"weight_map": []}',
        '{"a": 1, "a": 2}',
        '{"a":' + "[" * 99_999,
    ):
        index.write_text(content)
        with pytest.raises(CheckpointError):
            open_path(inside)


def test_an_index_that_is_its_own_shard(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"b": index.name}}))
    with open_path(index) as reader, pytest.raises(InitcfgError):
        reader.info("b")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        open_path(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_path("a\0b")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_path(tmp_path / "file" / "inside")


def test_long_names_are_not_multiplied(tmp_path):
    """A key of a megabyte above many tensors would be a gigabyte of keys."""
    names = "".join(f"t{place:04}" for place in range(4000))
    inner = {names[5 * place : 5 * place + 5]: torch.ones(()) for place in range(4000)}
    state = {"a": {"x" * 1_000_000: inner}}
    begin = time.perf_counter()
    with pytest.raises(CheckpointError, match="nested without end"):
        open_mapping(state, name="a")
    assert time.perf_counter() - begin < 10


def test_many_ways_to_one_table():
    """Looking for tensors takes each table once, however many hold it."""
    shared = {str(place): place for place in range(20_000)}
    state = {str(place): {"inner": shared} for place in range(5_000)} | {"w": torch.ones(1)}
    begin = time.perf_counter()
    assert list(open_mapping(state, name="a").keys()) == ["w"]
    assert time.perf_counter() - begin < 20
