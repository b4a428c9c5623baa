"""NumPy's arrays in every container: the same numbers, and no pickle that is within them."""

from __future__ import annotations

import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg._checkpoints.formats import open_mapping, open_path
from initcfg.errors import CheckpointError

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "other order": np.arange(3, dtype=">f4"),
    "strided": np.arange(10, dtype=np.int16)[::2],
    "half": np.array([1.5, -2], dtype=np.float16),
    "truth": np.array([True, False]),
    "complex": np.array([1 + 2j], dtype=np.complex64),
    "bytes": np.arange(250, dtype=np.uint8),
    "none": np.empty((0, 3), dtype=np.float32),
    "one": np.array(3.5),
}


def check(reader):
    assert list(reader.keys()) == list(ARRAYS)
    for key, array in ARRAYS.items():
        found, wanted = reader.read(key), array.astype(array.dtype.newbyteorder("="))
        assert tuple(found.shape) == reader.info(key).shape == wanted.shape
        assert str(found.dtype) == f"torch.{reader.info(key).dtype}"
        assert found.numpy().dtype == wanted.dtype and np.array_equal(found.numpy(), wanted), key


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True])
def test_in_files_of_torch(tmp_path, protocol, old):
    content = {"model": ARRAYS, "best": np.float64(0.5), "mean": np.ones(3)}
    torch.save(content, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    with open_path(tmp_path / "a.pth") as reader:
        check(reader)
        assert reader.wrapping == ("model",)
        assert reader.beside == {"best": "a tensor", "mean": "a tensor"}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    with open_path(tmp_path / "a.npz") as reader:
        check(reader)
        assert reader.format == "NumPy"


def test_files(tmp_path):
    for key, array in ARRAYS.items():
        path = tmp_path / f"{key}.npy"
        np.save(path, array)
        with open_path(path) as reader:
            assert list(reader.keys()) == [key]
            assert np.array_equal(reader.read(key).numpy(), array.astype(array.dtype.newbyteorder("=")))


def test_in_memory():
    check(open_mapping({"model": ARRAYS}, name="a"))


def test_scalars_are_weights_of_no_dimension(tmp_path):
    torch.save({"scale": np.float32(4.5), "w": torch.ones(1)}, tmp_path / "a.pth")
    with open_path(tmp_path / "a.pth") as reader:
        assert reader.read("scale").item() == 4.5 and reader.info("scale") == ((), "float32")


def zoo(tmp_path, protocol):
    """A file of the container and the keys that detectron2's model zoo has."""
    model = {
        "backbone.bottom_up.stem.conv1.weight": np.full((4, 3, 1, 1), 2, dtype=np.float32),
        "backbone.bottom_up.stem.conv1.norm.bias": np.full(4, 3, dtype=np.float32),
    }
    content = {"model": model, "__author__": "Caffe2", "matching_heuristics": True}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content, protocol))
    return tmp_path / "model_final.pkl"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_zoo_of_detectron2(tmp_path, protocol):
    path = zoo(tmp_path, protocol)
    model = nn.ModuleDict(dict(stem=nn.ModuleDict(dict(conv1=nn.Conv2d(3, 4, 1, bias=False)))))
    rule = dict(type="Pretrained", checkpoint=str(path), prefix="backbone.bottom_up.")
    initcfg.init_weights(model, rule)
    assert model["stem"]["conv1"].weight.flatten().tolist() == [2.0] * 12
    with open_path(path) as reader:
        assert reader.wrapping == ("model",)
        assert reader.beside == {"__author__": "'Caffe2'", "matching_heuristics": "True"}


def python2(array: np.ndarray) -> bytes:
    """An array as Python 2 pickles it: its bytes are a string."""

    def text(data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    name = array.dtype.str[1:].encode()
    dtype = b"cnumpy\ndtype\n(" + text(name) + b"K\x00K\x01tR(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ"
    dtype += b"\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(b"K" + bytes([each]) for each in array.shape) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    return made + b"(K\x01" + shape + dtype + b"\x89" + text(array.tobytes()) + b"tb"


def test_pickles_of_python_2(tmp_path):
    """Bytes that are UTF-8 by chance, and bytes that are not, and keys."""
    arrays = {
        b"conv1_w": np.arange(6, dtype=np.float32).reshape(2, 3) - 3,
        b"conv1_b": np.frombuffer("é¿a£".encode(), dtype=np.uint8)[:7],
    }
    body = b"\x80\x02}(" + b"U\x05blobs}("
    for key, array in arrays.items():
        body += b"U" + bytes([len(key)]) + key + python2(array)
    (tmp_path / "a.pkl").write_bytes(body + b"uu.")
    with open_path(tmp_path / "a.pkl") as reader:
        assert reader.wrapping == ("blobs",)
        assert {key: reader.read(key).tolist() for key in reader.keys()} == {  # noqa: SIM118
            key.decode(): array.tolist() for key, array in arrays.items()
        }


def test_tensors_by_pickle_dump_are_said(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"w": torch.ones(2)}))
    with pytest.raises(CheckpointError, match=r"has its tensors pickled by pickle\.dump"):
        open_path(tmp_path / "a.pkl")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_no_pickle_within(tmp_path, name):
    """numpy.load would run it; here it is refused, or the other arrays are read."""
    objects = np.array([{"w": 1}], dtype=object)
    if name == "a.npy":
        np.save(tmp_path / name, objects)
        with pytest.raises(CheckpointError, match="Python objects, which only pickled code could make"):
            open_path(tmp_path / name)
        return
    np.savez(tmp_path / name, o=objects, w=np.ones(2))
    with open_path(tmp_path / name) as reader:
        assert reader.read("w").tolist() == [1.0, 1.0] and reader.info("o") == ((1,), "object")
        with pytest.raises(CheckpointError, match="Python objects"):
            reader.read("o")


def npy(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) if length is None else length) + header + data


HOSTILE = {
    "no header": b"\x93NUMPY\x01\x00",
    "version 9": b"\x93NUMPY\x09\x00" + bytes(20),
    "long header": npy(b"{}", length=60_000),
    "code": npy(b"__import__('os').system('true')         "),
    "deep": npy(b"(" * 20_000),
    "no table": npy(b"[1, 2, 3]        "),
    "more keys": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'a': 1}", bytes(4)),
    "negative": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", bytes(4)),
    "longer": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(4)),
    "shorter": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "huge": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 60,)}", bytes(8)),
    "structured": npy(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", bytes(4)),
    "text": npy(b"{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", bytes(4)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers(tmp_path, kind):
    (tmp_path / "a.npy").write_bytes(HOSTILE[kind])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as opened:
        opened.writestr("w.npy", HOSTILE[kind])
    for name in ("a.npy", "a.npz"):
        with pytest.raises(CheckpointError) as caught, open_path(tmp_path / name) as reader:
            reader.read("w")
        assert caught.value.fix is not None


def test_a_member_that_unpacks_to_more_or_less(tmp_path):
    """What is compressed is unpacked no further than its size, and must have that."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, w=np.zeros(1000, dtype=np.float32))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        size = struct.pack("<I", opened.getinfo("w.npy").file_size)
    for change in (-400, 400):
        changed = bytes(data).replace(size, struct.pack("<I", struct.unpack("<I", size)[0] + change))
        path.write_bytes(changed)
        with pytest.raises(CheckpointError), open_path(path) as reader:
            reader.read("w")


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1 << 61,)])
def test_pickled_arrays_of_another_size(tmp_path, shape):
    data = pickle.dumps({"w": np.arange(2, dtype=np.float32)}, 2)
    assert data.count(b"K\x02\x85") == 1
    body = pickle.dumps(shape, 2)[2:-1]
    (tmp_path / "a.pkl").write_bytes(data.replace(b"K\x02\x85", body))
    with pytest.raises(CheckpointError), open_path(tmp_path / "a.pkl") as reader:
        reader.read("w")


def test_bytes_that_are_named_often_are_made_once(tmp_path):
    """A text of a megabyte that is encoded a thousand times is not a gigabyte."""
    import tracemalloc

    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    call = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    body = b"\x80\x02](" + text + call * 1000 + b"e."
    (tmp_path / "a.pkl").write_bytes(body)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            open_path(tmp_path / "a.pkl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
