"""One file: every type, every layout, the same numbers as torch and safetensors read, lazily."""

from __future__ import annotations

import argparse
import collections
import datetime
import gc
import io
import pathlib
import pickle
import resource
import sys
import threading
import types
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from initcfg._apply.finite import non_finite
from initcfg._checkpoints.formats import TensorInfo, open_mapping, open_path
from initcfg.errors import CheckpointError, CheckpointNotFoundError

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.bool, torch.complex64,
]  # fmt: skip


def bits(tensor: torch.Tensor) -> tuple[object, ...]:
    """Everything of a tensor, so that equal means bit for bit."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tuple(plain.shape), plain.dtype, plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def read_all(path, **options):
    with open_path(path, **options) as reader:
        return {key: reader.read(key) for key in reader.keys()}  # noqa: SIM118


def random_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    state = {}
    for dtype in DTYPES:
        raw = torch.randint(0, 256, (6 * dtype.itemsize,), dtype=torch.uint8, generator=generator)
        raw = raw % 2 if dtype == torch.bool else raw
        state[str(dtype)] = raw.view(dtype).view(2, 3)
    return {
        **state,
        "scalar": torch.tensor(2.5),
        "nothing": torch.empty(0),
        "no rows": torch.empty(0, 7, dtype=torch.int16),
        "large": torch.arange(300_000, dtype=torch.float32).view(300, 1000),
    }


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy"])
def test_every_type(tmp_path, kind):
    state, path = random_state(), tmp_path / "weights.bin"
    if kind == "safetensors":
        save_file(state, path)
        expected = load_file(path)
    else:
        if kind == "legacy":
            # The old format has no name for the newer types.
            state = {key: each for key, each in state.items() if "float8" not in key and "uint" not in key}
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
        expected = torch.load(path, weights_only=True)
    found = read_all(path)
    assert set(found) == set(state)
    assert {key: bits(each) for key, each in found.items()} == {key: bits(expected[key]) for key in found}
    with open_path(path) as reader:
        for key, tensor in state.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            assert reader.info(key) == TensorInfo(tuple(tensor.shape), dtype)
        with pytest.raises(KeyError):
            reader.info("none such")


def test_complex_numbers_of_two_doubles(tmp_path):
    state = {"a": torch.randn(3, dtype=torch.complex128)}
    torch.save(state, tmp_path / "a.pth")
    assert torch.equal(read_all(tmp_path / "a.pth")["a"], state["a"])


@pytest.mark.parametrize("new", [True, False])
def test_every_layout(tmp_path, new):
    base = torch.arange(24.0).view(4, 6)
    state = {
        "transposed": base.t(),
        "columns": base[:, 1:4:2],
        "row": base[2],
        "expanded": torch.tensor([7.0]).expand(5, 3),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "whole": base,
        "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
        "negative": torch.randn(3, dtype=torch.complex64).conj().imag,
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }
    path = tmp_path / "a.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new)
    expected, found = torch.load(path, weights_only=True), read_all(path)
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
        if key != "negative":
            assert found[key].stride() == tensor.stride(), key
        assert not found[key].requires_grad


def test_the_byte_order_of_the_other_machines(tmp_path):
    state = {"a": torch.arange(5, dtype=torch.int32), "c": torch.randn(2, dtype=torch.complex64)}
    out = io.BytesIO()
    torch.save(state, out)
    with zipfile.ZipFile(out) as opened:
        members = {each.split("/", 1)[1]: opened.read(each) for each in opened.namelist()}
    members["byteorder"] = b"big"
    for name in ("data/0", "data/1"):
        members[name] = np.frombuffer(members[name], "<u4").astype(">u4").tobytes()
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as opened:
        for name, content in members.items():
            opened.writestr(f"archive/{name}", content)
    found = read_all(tmp_path / "a.pth")
    assert torch.equal(found["a"], state["a"])
    assert torch.equal(found["c"], state["c"])


def test_an_archive_without_checksums(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_all(tmp_path / "a.pth")["a"], torch.ones(3))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, protocol):
    state = collections.OrderedDict(a=torch.ones(2), b=torch.zeros(3))
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    content = {"state_dict": state, "meta": {"n": 2**70, "t": (1, 2.5, None)}}
    torch.save(content, tmp_path / "a", pickle_protocol=protocol)
    assert torch.equal(read_all(tmp_path / "a")["a"], torch.ones(2))


def test_what_stands_beside_the_weights(tmp_path):
    class AttributeDict(dict):
        """As Lightning's: a table of another class."""

    AttributeDict.__module__, AttributeDict.__qualname__ = "lightning.fabric.utilities.data", "AttributeDict"
    stand_in = types.ModuleType("lightning.fabric.utilities.data")
    stand_in.AttributeDict = AttributeDict
    names = ["lightning", "lightning.fabric", "lightning.fabric.utilities", stand_in.__name__]
    sys.modules.update({name: stand_in for name in names})
    try:
        beside = {
            "hyper_parameters": AttributeDict(width=4),
            "args": argparse.Namespace(lr=0.1),
            "path": pathlib.PurePosixPath("/a/b"),
            "when": datetime.datetime(2024, 1, 2),
            "delta": datetime.timedelta(1),
            "counts": collections.Counter("aab"),
            "lists": collections.defaultdict(list, a=[1]),
            "scalar": np.float64(0.5),
            "array": np.arange(4.0),
            "big": np.arange(4, dtype=">i2"),
            "names": np.array(["a", "b"]),
            "numpy type": np.dtype("float32"),
            "type": torch.float16,
            "device": torch.device("cpu"),
            "size": torch.Size([1, 2]),
            "set": {1, 2},
            "frozen": frozenset([3]),
            "bytes": b"abc",
            "array of bytes": bytearray(b"abc"),
            "complex": 1 + 2j,
            "slice": slice(1, 2),
        }
        torch.save({"state_dict": {"a": torch.ones(1)}, **beside}, tmp_path / "a.pth")
    finally:
        for name in names:
            del sys.modules[name]
    with open_path(tmp_path / "a.pth") as reader:
        assert reader.wrapping == ("state_dict",)
        assert list(reader.keys()) == ["a"]
        assert set(reader.beside) == set(beside)
        assert reader.beside["hyper_parameters"] == "a table of 1"
        assert reader.beside["args"] == "Namespace"
    assert "lightning" not in sys.modules


def test_a_name_of_ones_own_is_refused(tmp_path):
    data = b"\x80\x02}X\x01\x00\x00\x00acmine.config\nSettings\n)\x81s."
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as opened:
        opened.writestr("archive/data.pkl", data)
    with pytest.raises(CheckpointError, match=r"it needs mine\.config\.Settings"):
        open_path(tmp_path / "a.pth")


def test_tensors_that_no_parameter_can_be_set_from(tmp_path):
    with warnings.catch_warnings():
        # torch says that these are to go.
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    state = {
        "quantized": quantized,
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(2, 3, device="meta"),
        "plain": torch.ones(2),
    }
    torch.save(state, tmp_path / "a.pth")
    with open_path(tmp_path / "a.pth") as reader:
        assert list(reader.keys()) == list(state)
        assert reader.info("quantized") == TensorInfo((2, 2), "quantized")
        assert reader.info("sparse").shape == (3, 3)
        assert reader.info("meta") == TensorInfo((2, 3), "meta")
        for key in ("quantized", "sparse", "meta"):
            with pytest.raises(CheckpointError, match=key):
                reader.read(key)
        assert torch.equal(reader.read("plain"), torch.ones(2))


def test_a_compiled_module_is_read_and_not_run(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    out = io.BytesIO()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(model), out)
    (tmp_path / "a.pt").write_bytes(out.getvalue())
    with open_path(tmp_path / "a.pt") as reader:
        assert reader.format == "TorchScript"
        assert {key: bits(reader.read(key)) for key in reader.keys()} == {  # noqa: SIM118
            key: bits(each) for key, each in model.state_dict().items()
        }


# -- laziness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy"])
def test_only_what_is_asked_for_is_read(tmp_path, kind):
    path, count = tmp_path / "weights", 8_000_000
    state = {"large": torch.ones(count), "small": torch.ones(3)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    with open_path(path) as reader:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock, _resident()
        assert torch.equal(reader.read("small"), torch.ones(3))
        assert reader.info("large").shape == (count,)
        assert _resident() - before[1] < count


def test_a_mapped_tensor_outlives_the_reader_and_never_changes_the_file(tmp_path):
    state = {"a": torch.arange(1_000_000.0)}
    save_file(state, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    reader = open_path(tmp_path / "a")
    tensor, again = reader.read("a"), reader.read("a")
    assert tensor.data_ptr() != again.data_ptr()
    reader.close()
    with pytest.raises(CheckpointError, match="was closed"):
        reader.read("a")
    del reader
    gc.collect()
    tensor.zero_()
    assert torch.equal(again, state["a"])
    assert (tmp_path / "a").read_bytes() == content


def test_threads_may_read_together(tmp_path):
    state = {str(each): torch.full((100,), float(each)) for each in range(200)}
    torch.save(state, tmp_path / "a")
    wrong = []
    with open_path(tmp_path / "a") as reader:

        def work():
            wrong.extend(key for key in state if not torch.equal(reader.read(key), state[key]))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_tensor_that_memory_cannot_hold(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(20_000_001)}, tmp_path / "a", _use_new_zipfile_serialization=False)
    monkeypatch.setattr("initcfg._checkpoints.formats.spans.available_memory", lambda: 1000)
    # Moved by a byte, so that it cannot be mapped.
    with open_path(tmp_path / "a") as reader:
        storage = reader.tensors["a"].storage
        storage.start += 4 - storage.start % 4 + 1 - 4
        with pytest.raises(CheckpointError, match="bytes are free"):
            reader.read("a")


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as lines:
        return int(lines.read().split()[1]) * resource.getpagesize()


# -- in memory, digests, numbers -----------------------------------------------------------------


def test_a_mapping_in_memory():
    tensor = torch.nn.Parameter(torch.ones(2))
    reader = open_mapping({"state_dict": {"module.a": tensor}, "epoch": 3}, name="mine")
    assert (list(reader.keys()), reader.wrapping) == (["a"], ("state_dict", "module."))
    assert reader.read("a").data_ptr() == tensor.data_ptr()
    assert not reader.read("a").requires_grad
    assert reader.name == "mine"
    assert reader.beside == {"epoch": "3"}
    with pytest.raises(CheckpointError, match="has no tensor in it"):
        open_mapping({}, name="mine")


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "resnet50.pth").write_bytes(b"x")
    with pytest.raises(CheckpointNotFoundError) as caught:
        open_path(tmp_path / "resnet_50.pth")
    assert caught.value.meant == (str(tmp_path / "resnet50.pth"),)


@pytest.mark.parametrize(
    ("content", "what"),
    [(torch.ones(2), "a tensor"), ([torch.ones(2)], "a list of 1"), (3, "3"), ({}, "no tensor")],
)
def test_what_is_no_state_dict(tmp_path, content, what):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=what):
        open_path(tmp_path / "a.pth")


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each.is_floating_point])
def test_numbers_that_are_not_finite(dtype):
    patterns = torch.arange(256, dtype=torch.uint8).repeat_interleave(dtype.itemsize)
    tensor = patterns.view(dtype)
    wide = tensor.double() if dtype != torch.float8_e8m0fnu else tensor.float()
    assert non_finite(tensor) == int((~torch.isfinite(wide)).sum())
    assert non_finite(tensor[:0]) == 0


def test_finite_kinds():
    nan, inf = float("nan"), float("inf")
    assert non_finite(torch.tensor([1, 2])) == 0
    assert non_finite(torch.tensor([complex(nan, inf), complex(1, inf), complex(1, 2)]).conj()) == 2
    assert non_finite(torch.ones(3, 4).t()) == 0
    assert non_finite(torch.tensor([[1.0, nan], [inf, -inf]]).t()) == 3
    assert pickle.loads(pickle.dumps(TensorInfo((1,), "float32"))) == ((1,), "float32")
