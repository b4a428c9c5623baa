"""What a fuzzer throws bytes at: every reader of what nobody vouches for.

A target takes bytes and a folder of its own. It may raise ``InitcfgError``, and nothing else. Readers that
lead to work (applying a plan, judging by a ledger, reading every tensor) do that work too, on a small model.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import initcfg
from initcfg._apply import verified
from initcfg._checkpoints.formats import open_mapping, open_path
from initcfg._checkpoints.sources.cache import Cache
from initcfg._checkpoints.sources.digests import Expected
from initcfg._plan.ledger import Ledger
from initcfg.errors import InitcfgError

Target = Callable[[bytes, Path], None]


class Small(nn.Module):
    """The model of the seeds: a convolution, a norm with buffers, an embedding, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.words = nn.Embedding(8, 4, padding_idx=0)
        self.fc = nn.Linear(4, 6)


def _written(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _read_all(path: Path) -> None:
    with open_path(path) as opened:
        for name in list(opened.keys()):
            opened.info(name)
            opened.read(name)


def plan(data: bytes, folder: Path) -> None:
    """A plan as JSON, shown and carried out."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    read = initcfg.Plan.from_json(found)
    str(read)
    model = Small()
    read.apply(model, seed=0)


def ledger(data: bytes, folder: Path) -> None:
    """A ledger as JSON, shown and taken for a judge."""
    found = Ledger.load(_written(data, folder, "ledger.json"))
    str(found)
    verified(open_mapping(Small().state_dict(), name="the model"), found).to_json()


def _config(data: bytes, folder: Path, name: str) -> None:
    cfg = initcfg.Config.fromfile(_written(data, folder, name), use_python=False)
    cfg.to_dict()
    cfg.pretty_text  # noqa: B018 - shown to people


def config_json(data: bytes, folder: Path) -> None:
    """A config in JSON."""
    _config(data, folder, "config.json")


def config_yaml(data: bytes, folder: Path) -> None:
    """A config in YAML."""
    _config(data, folder, "config.yaml")


def config_toml(data: bytes, folder: Path) -> None:
    """A config in TOML."""
    _config(data, folder, "config.toml")


def safetensors(data: bytes, folder: Path) -> None:
    """A safetensors file, header and all."""
    _read_all(_written(data, folder, "weights.safetensors"))


def torch_zip(data: bytes, folder: Path) -> None:
    """A file of ``torch.save``, from the directory of the archive on."""
    _read_all(_written(data, folder, "weights.pth"))


def pickled(data: bytes, folder: Path) -> None:
    """The pickle within a file of ``torch.save``; its storage of 256 bytes is in order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("weights/data.pkl", data)
        archive.writestr("weights/byteorder", "little")
        archive.writestr("weights/data/0", bytes(256))
        archive.writestr("weights/version", "3\n")
    _read_all(_written(stream.getvalue(), folder, "weights.pth"))


def index(data: bytes, folder: Path) -> None:
    """The index of a folder of shards; one shard lies beside it."""
    shard = folder / "model-00001-of-00001.safetensors"
    if not shard.exists():
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(2), "b": torch.ones(3)}, shard)
    _written(data, folder, "model.safetensors.index.json")
    _read_all(folder)


def cache_record(data: bytes, folder: Path) -> None:
    """What a cache says of an address, also where another user wrote it."""
    before = os.environ.get("INITCFG_HOME")
    os.environ["INITCFG_HOME"] = str(folder / "home")
    try:
        cache = Cache("https://example.org/weights.pth")
        base = folder / "home" / "addresses"
        base.mkdir(parents=True, exist_ok=True)
        cache._with(".json").write_bytes(data)
        cache._note.write_bytes(data)
        cache.partial.write_bytes(b"begun")
        kept = _written(b"mine", folder, "kept")
        cache.entry(Expected.of("weights.pth", None))
        cache.entry(Expected.of("weights.pth", "0" * 64))
        cache.partial_version()
        assert kept.read_bytes() == b"mine"
    finally:
        os.environ.pop("INITCFG_HOME")
        if before is not None:
            os.environ["INITCFG_HOME"] = before


TARGETS: dict[str, Target] = {
    each.__name__: each
    for each in (
        plan,
        ledger,
        config_json,
        config_yaml,
        config_toml,
        safetensors,
        torch_zip,
        pickled,
        index,
        cache_record,
    )
}


def attempt(target: Target, data: bytes, folder: Path) -> InitcfgError | None:
    """Run a target once: None, or the error that it may raise. Whatever else it raises comes through."""
    try:
        target(data, folder)
    except InitcfgError as error:
        str(error)
        return error
    return None
