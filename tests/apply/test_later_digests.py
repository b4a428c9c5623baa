"""The digest of a large file is read when the ledger is asked for it, and is never that of another file."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._apply import source_digests
from initcfg._checkpoints import whole_digest
from initcfg._checkpoints.sources import digests, file_digest

Asked = list[Path]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The files that are read for their digest; every file counts as large, and as written long ago."""
    found: Asked = []

    def told(path: Path, *, exactly: bool = False) -> str:
        found.append(path)
        return file_digest(path, exactly=exactly)

    monkeypatch.setattr(source_digests, "_SMALL", 0)
    monkeypatch.setattr(digests, "_TICK", 0)
    monkeypatch.setattr(sys.modules[whole_digest.__module__], "file_digest", told)
    return found


@pytest.fixture(params=["file", "shards"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint of the model below."""
    state = {"weight": torch.rand(4, 4), "bias": torch.rand(4)}
    if request.param == "file":
        save_file(state, tmp_path / "base.safetensors")
        return tmp_path / "base.safetensors"
    names = {key: f"{key}.safetensors" for key in state}
    for key, tensor in state.items():
        save_file({key: tensor}, tmp_path / names[key])
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return tmp_path


def loaded(source: Path) -> initcfg.Ledger:
    return initcfg.init_weights(nn.Linear(4, 4), dict(type="Pretrained", checkpoint=str(source)), seed=0)


def digest_of(source: Path) -> str:
    """As ``sha256sum`` says it, of a folder of the lines that it prints."""
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    files = sorted(source.iterdir())
    lines = [f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def one_of(source: Path) -> Path:
    return source if source.is_file() else source / "bias.safetensors"


def until_it_shows(path: Path, change: Callable[[], object]) -> None:
    """Change a file until the clock of its system has ticked."""
    before = path.stat().st_ctime_ns
    change()
    while path.exists() and path.stat().st_ctime_ns == before:
        time.sleep(0.002)
        change()


def test_it_is_read_once_when_it_is_asked_for(source: Path, asked: Asked) -> None:
    ledger = loaded(source)
    assert str(ledger) and repr(ledger) and ledger.summary() and asked == []
    assert ledger.loads[0].sha256 == digest_of(source)
    count = len(asked)
    assert ledger.loads[0].sha256 and ledger.loads[0].undigested is None
    assert count == len(asked) == (1 if source.is_file() else 3)


def test_what_is_saved_or_copied_has_it(source: Path, asked: Asked, tmp_path_factory) -> None:
    digest, file = digest_of(source), tmp_path_factory.mktemp("out") / "ledger.json"
    loaded(source).save(file)
    data = json.loads(file.read_text())["loads"][0]
    assert data["sha256"] == digest and "undigested" not in data
    assert initcfg.Ledger.load(file) == loaded(source)
    for there in (pickle.loads(pickle.dumps(loaded(source))), copy.deepcopy(loaded(source))):
        one_of(source).touch()
        assert there.loads[0].sha256 == digest
    assert loaded(source).plan.to_json()["loads"][0]["sha256"] == digest


def written_with_its_old_time(path: Path) -> None:
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(other, path)


CHANGES = {
    "written": lambda path: path.write_bytes(path.read_bytes()),
    "written, its time put back": written_with_its_old_time,
    "replaced by its copy": replaced,
    "shorter": lambda path: os.truncate(path, path.stat().st_size - 1),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows does not say when a file's record changed.")
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_of_a_file_that_changed_since_there_is_none(source: Path, asked: Asked, change) -> None:
    # Known from before, as of a file that another ledger was asked for.
    assert loaded(source).loads[0].sha256 == digest_of(source)
    ledger = loaded(source)
    until_it_shows(one_of(source), lambda: change(one_of(source)))
    load = initcfg.Ledger.from_json(ledger.to_json()).loads[0]
    assert load.sha256 is None
    assert load.undigested == "the file has changed since it was loaded"
    assert load == ledger.loads[0]


def test_of_a_file_that_has_gone_there_is_none(source: Path, asked: Asked) -> None:
    ledger = loaded(source)
    one_of(source).unlink()
    assert ledger.loads[0].undigested == "the file cannot be read any more: No such file or directory"
    assert ledger.loads[0].sha256 is None


def test_of_a_file_that_changes_while_it_is_read_there_is_none(
    source: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = loaded(source)

    def told(path: Path, *, exactly: bool = False) -> str:
        digest = file_digest(path, exactly=exactly)
        until_it_shows(path, path.touch)
        return digest

    monkeypatch.setattr(sys.modules[whole_digest.__module__], "file_digest", told)
    assert ledger.loads[0].sha256 is None
    assert ledger.loads[0].undigested == "the file has changed since it was loaded"


def test_nobody_verifies_against_a_file_that_changed(source: Path, asked: Asked) -> None:
    model = nn.Linear(4, 4)
    ledger = initcfg.init_weights(model, dict(type="Pretrained", checkpoint=str(source)), seed=0)
    until_it_shows(one_of(source), one_of(source).touch)
    found = initcfg.verify(model, ledger)
    assert found.exit_code == 3
    assert "the file has changed since it was loaded" in found["bias"].detail


def test_a_file_that_was_just_written_is_read_at_once(source: Path, asked: Asked, monkeypatch) -> None:
    # Its next write may get the same time.
    monkeypatch.setattr(digests, "_TICK", 3600 * 10**9)
    digest, ledger = digest_of(source), loaded(source)
    for thread in threading.enumerate():
        if thread.name == "initcfg-digest":
            thread.join()
    one_of(source).unlink()
    assert ledger.loads[0].sha256 == digest


def test_what_was_read_of_a_file_just_written_is_read_again_where_it_matters(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert file_digest(path, exactly=True) == hashlib.sha256(b"one").hexdigest()
    times = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_digest(path, exactly=True) == hashlib.sha256(b"two").hexdigest()


def test_a_streamed_copy_does_not_wait_for_anybody_to_ask(
    source: Path, asked: Asked, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("out")
    with initcfg.deferred():
        model = nn.Linear(4, 4)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(source)))
    digest = digest_of(source)
    plan.save_weights(folder, model, seed=0)
    assert initcfg.Ledger.load(folder / "model.ledger.json").loads[0].sha256 == digest


def test_a_digest_that_a_rule_demands_is_looked_at_before_anything_is_loaded(
    tmp_path: Path, asked: Asked
) -> None:
    save_file({"weight": torch.rand(4, 4), "bias": torch.rand(4)}, tmp_path / "a.safetensors")
    digest, model = digest_of(tmp_path / "a.safetensors"), nn.Linear(4, 4)
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "a.safetensors"), sha256=digest)
    plan = initcfg.plan(model, rule)
    before = model.weight.detach().clone()
    save_file({"weight": torch.rand(4, 4), "bias": torch.rand(4)}, tmp_path / "a.safetensors")
    with pytest.raises(initcfg.errors.CheckpointError, match="SHA-256"):
        plan.apply(model, seed=0)
    assert torch.equal(model.weight, before)
    assert whole_digest(tmp_path / "a.safetensors") != digest
