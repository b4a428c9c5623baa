"""Checkpoints of several files: shards, folders of Hugging Face, distributed checkpoints."""

from __future__ import annotations

import json
import pickle
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

from initcfg._checkpoints import open_source
from initcfg._checkpoints.formats import TensorInfo, open_path
from initcfg.errors import CheckpointError, CheckpointNotFoundError


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {
        f"layers.{each}.weight": torch.full((3, 2), float(each), dtype=torch.bfloat16) for each in range(4)
    }


def shard(folder, state, *, safe=True, keys=None):
    """Two shards and their index."""
    ending = ".safetensors" if safe else ".bin"
    stem = "model" if safe else "pytorch_model"
    names = [f"{stem}-0000{each}-of-00002{ending}" for each in (1, 2)]
    parts = [dict(list(state.items())[:2]), dict(list(state.items())[2:])]
    for name, part in zip(names, parts, strict=True):
        (save_file if safe else torch.save)(part, folder / name)
    weight_map = {key: name for name, part in zip(names, parts, strict=True) for key in part} | (keys or {})
    index = folder / f"{stem}{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": weight_map}))
    return index, names


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_shards(tmp_path, state, safe, whole):
    index, names = shard(tmp_path, state, safe=safe)
    with open_path(tmp_path if whole else index) as reader:
        assert list(reader.keys()) == list(state)
        assert reader.format == "2 shards"
        assert reader.metadata == {"total_size": "48"}
        assert all(torch.equal(reader.read(key), each) for key, each in state.items())
        assert reader.info("layers.3.weight") == TensorInfo((3, 2), "bfloat16")
    assert len(names) == 2


def test_a_shard_is_opened_when_it_is_needed(tmp_path, state):
    index, names = shard(tmp_path, state)
    (tmp_path / names[1]).write_bytes(b"damaged")
    with open_path(index) as reader:
        assert torch.equal(reader.read("layers.0.weight"), state["layers.0.weight"])
        with pytest.raises(CheckpointError, match="is damaged"):
            reader.info("layers.2.weight")


def test_a_missing_shard_is_found_at_once(tmp_path, state):
    index, names = shard(tmp_path, state)
    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointNotFoundError, match="lacks 1 of 2 shards") as caught:
        open_path(index)
    assert names[1] in str(caught.value)


def test_a_key_that_its_shard_lacks(tmp_path, state):
    index, names = shard(tmp_path, state, keys={"extra": "model-00001-of-00002.safetensors"})
    with open_path(index) as reader:
        assert torch.equal(reader.read("layers.0.weight"), state["layers.0.weight"])
        with pytest.raises(CheckpointError, match=f"says that 'extra' is in {names[0]}, and it is not"):
            reader.info("extra")


def test_prefixes_of_shards(tmp_path, state):
    index, _ = shard(tmp_path, {f"module.{key}": each for key, each in state.items()})
    with open_path(index) as reader:
        assert (list(reader.keys()), reader.wrapping) == (list(state), ("module.",))
        assert torch.equal(reader.read("layers.1.weight"), state["layers.1.weight"])


def test_json_that_is_no_index(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="without a weight_map"):
        open_path(tmp_path / "config.json")
    with pytest.raises(CheckpointNotFoundError, match="holds no checkpoint"):
        open_path(tmp_path)


def test_the_file_in_a_folder(tmp_path, state):
    torch.save({"other": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert list(open_path(tmp_path).keys()) == ["other"]
    save_file(state, tmp_path / "model.safetensors")
    assert list(open_path(tmp_path).keys()) == list(state)
    (tmp_path / "model.safetensors").rename(tmp_path / "adapter.safetensors")
    (tmp_path / "pytorch_model.bin").unlink()
    assert list(open_path(tmp_path).keys()) == list(state)
    save_file(state, tmp_path / "second.safetensors")
    with pytest.raises(CheckpointError, match="holds 2 files that end in") as caught:
        open_path(tmp_path)
    assert len(caught.value.meant) == 2


# -- distributed checkpoints ---------------------------------------------------------------------


def save_distributed(folder, content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(content, checkpoint_id=folder, no_dist=True)


@pytest.fixture
def distributed(tmp_path):
    content = {
        "model": {"a.weight": torch.randn(4, 3), "b": torch.tensor(3.0), "empty": torch.empty(0, 2)},
        "optim": {"state": {"a.weight": {"exp_avg": torch.ones(4, 3)}}},
        "step": 7,
    }
    save_distributed(tmp_path / "dcp", content)
    return tmp_path / "dcp", content


def test_a_distributed_checkpoint(distributed):
    folder, content = distributed
    with open_path(folder) as reader:
        assert reader.wrapping == ("model",)
        assert set(reader.keys()) == set(content["model"])
        assert all(torch.equal(reader.read(key), each) for key, each in content["model"].items())
        assert set(reader.beside) == {"optim", "step"}
    flat = folder.parent / "flat"
    save_distributed(flat, content["model"])
    with open_path(flat) as reader:
        assert (set(reader.keys()), reader.wrapping) == (set(content["model"]), ())


def changed(folder, change):
    """Change the metadata of a distributed checkpoint, with torch's own classes."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    change(metadata)
    path.write_bytes(pickle.dumps(metadata))


def split(metadata, offsets):
    """Say that the blocks of ``model.a.weight`` are rows at these offsets, each where the whole one is."""
    entry = metadata.state_dict_metadata["model.a.weight"]
    whole = next(each for each in metadata.storage_data if each.fqn == "model.a.weight")
    info = metadata.storage_data.pop(whole)
    entry.chunks = [
        ChunkStorageMetadata(offsets=torch.Size([first, 0]), sizes=torch.Size([count, 3]))
        for first, count in offsets
    ]
    for first, _ in offsets:
        metadata.storage_data[MetadataIndex("model.a.weight", [first, 0])] = info


def test_blocks_are_put_together(distributed, tmp_path):
    folder, content = distributed
    tensor = content["model"]["a.weight"]
    for each in (0, 1):
        torch.save(tensor[2 * each : 2 * each + 2].clone(), folder / f"block{each}")

    def change(metadata):
        split(metadata, [(0, 2), (2, 2)])
        for index in list(metadata.storage_data):
            if index.fqn == "model.a.weight":
                name = f"block{index.offset[0] // 2}"
                metadata.storage_data[index] = _StorageInfo(name, 0, (folder / name).stat().st_size)

    changed(folder, change)
    with open_path(folder) as reader:
        assert torch.equal(reader.read("a.weight"), tensor)


@pytest.mark.parametrize(
    ("offsets", "problem"),
    [
        ([(0, 2), (1, 2)], "overlap"),
        ([(0, 2), (3, 1)], "not the whole"),
        ([(0, 2), (3, 2)], "outside"),
        ([(0, 2), (0, 2)], "overlap"),
    ],
)
def test_blocks_that_do_not_fit(distributed, offsets, problem):
    changed(distributed[0], lambda metadata: split(metadata, offsets))
    with pytest.raises(CheckpointError, match=problem):
        open_path(distributed[0])


@pytest.mark.parametrize(
    ("file", "start", "length", "problem"),
    [
        ("../outside", 0, 10, "not in its folder"),
        ("/etc/passwd", 0, 10, "not in its folder"),
        ("missing", 0, 10, "files are missing"),
        ("__0_0.distcp", -1, 10, "without a place"),
        ("__0_0.distcp", 0, 1 << 50, "ends before its part"),
        ("__0_0.distcp", 5, 100, "not a whole zip archive"),
    ],
)
def test_places_of_blocks(distributed, file, start, length, problem):
    def change(metadata):
        index = next(each for each in metadata.storage_data if each.fqn == "model.a.weight")
        metadata.storage_data[index] = _StorageInfo(file, start, length)

    changed(distributed[0], change)
    with pytest.raises(CheckpointError, match=problem), open_path(distributed[0]) as reader:
        reader.read("a.weight")


def test_a_block_that_is_another_tensor(distributed):
    def change(metadata):
        places = {each.fqn: each for each in metadata.storage_data}
        other = metadata.storage_data[places["model.b"]]
        metadata.storage_data[places["model.a.weight"]] = other

    changed(distributed[0], change)
    with (
        open_path(distributed[0]) as reader,
        pytest.raises(CheckpointError, match="not what the metadata"),
    ):
        reader.read("a.weight")


def test_every_flipped_byte_of_the_metadata(distributed):
    folder, _ = distributed
    path = folder / ".metadata"
    data = path.read_bytes()
    refused = 0
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            with open_path(folder) as reader:
                for key in reader.keys():  # noqa: SIM118
                    reader.read(key)
        except CheckpointError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "name",
    [
        "model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "adapter_model.safetensors",
        "open_clip_model.safetensors",
        "pytorch_model.fp16.bin",
        "adapter_model.bin",
    ],
)
def test_a_folder_with_one_variant(tmp_path, state, name):
    (save_file if name.endswith("s") else torch.save)(state, tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    torch.save({"lr": 1}, tmp_path / "training_args.bin")
    torch.save({"lr": torch.ones(1)}, tmp_path / "optimizer.bin")
    for opened in (open_path(tmp_path), open_source(str(tmp_path))):
        with opened:
            assert list(opened.keys()) == list(state)
    torch.save(state, tmp_path / f"second{name[name.rindex('.') :]}")
    with pytest.raises(CheckpointError, match="holds 2 files that end in") as caught:
        open_source(str(tmp_path))
    assert sorted(caught.value.meant)[0] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("shards", "index"),
    [
        ("model.fp16-0000{}-of-00002.safetensors", "model.safetensors.index.fp16.json"),
        ("model.fp16-0000{}-of-00002.safetensors", "model.fp16.safetensors.index.json"),
        (
            "diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors",
            "diffusion_pytorch_model.safetensors.index.fp16.json",
        ),
        ("pytorch_model.fp16-0000{}-of-00002.bin", "pytorch_model.bin.index.fp16.json"),
    ],
)
def test_a_folder_with_shards_of_a_variant(tmp_path, state, shards, index):
    keys = list(state)
    weight_map = {}
    for number, part in ((1, keys[:2]), (2, keys[2:])):
        name = shards.format(number)
        (save_file if name.endswith("s") else torch.save)({key: state[key] for key in part}, tmp_path / name)
        weight_map |= dict.fromkeys(part, name)
    with pytest.raises(CheckpointError, match="no index of them"):
        open_source(str(tmp_path))
    (tmp_path / index).write_text(json.dumps({"weight_map": weight_map}))
    with open_source(str(tmp_path)) as opened:
        assert list(opened.keys()) == keys
        assert all(torch.equal(opened.read(key), each) for key, each in state.items())
