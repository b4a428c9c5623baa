"""The sentences of SECURITY.md about checkpoints, plans, the cache and what is shown, each with an attack."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import resource
import socket
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save, save_file
from torch import nn

import initcfg
from initcfg._api.command import main
from initcfg._checkpoints import open_source
from initcfg._checkpoints.sources.address import key, shown
from initcfg._checkpoints.sources.cache import Cache
from initcfg._checkpoints.sources.digests import Expected
from initcfg.errors import CheckpointError, SavedPlanError

PAGE = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
RULE = {"type": "Normal", "layer": "Linear", "std": 0.1}
told: list[str] = []


def says(sentence: str) -> Callable[[Any], Any]:
    """What the test is about, as the page says it."""
    told.append(" ".join(sentence.split()))
    return lambda test: test


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inspected(name: str) -> str:
    """What the command says of a file that it must refuse."""
    done = CliRunner().invoke(main, ["inspect", name])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr and "INITCFG_TRACEBACK" not in done.stderr
    return done.stderr


class Attack:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.made = call, arguments

    def __reduce__(self) -> Any:
        return self.made


@says(
    "No code that a checkpoint holds is run: a pickle is read as data, and what it names is "
    "neither imported nor "
    "called."
)
@pytest.mark.parametrize("legacy", [False, True])
def test_pickles(folder: Path, legacy: bool) -> None:
    (folder / "imported_by_it.py").write_text("open('imported', 'w')\ndef f(*_): open('called', 'w')\n")
    attacks = [Attack(os.system, "touch ran"), Attack(exec, "open('ran', 'w')"), Attack(os.mkdir, "ran")]
    for attack in attacks:
        torch.save({"a": torch.ones(2), "b": attack}, "a.pth", _use_new_zipfile_serialization=not legacy)
        assert "never run" in inspected("a.pth")
    by_name = b"\x80\x02cimported_by_it\nf\n)R."
    Path("b.pth").write_bytes(by_name)
    inspected("b.pth")
    assert {path.name for path in folder.iterdir()} == {"imported_by_it.py", "a.pth", "b.pth"}


@says(
    "Nothing in a checkpoint leads to a file outside of its folder: no index, no archive, no name of a "
    "shard, and no base that an adapter's own file names."
)
@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/{}/secret.safetensors", "a/../../secret.safetensors"]
)
def test_names_that_lead_out(folder: Path, name: str) -> None:
    save_file({"a": torch.ones(2)}, "secret.safetensors")
    (folder / "within").mkdir()
    index = {"weight_map": {"a": name.format(folder)}}
    (folder / "within" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "a: " not in inspected("within")
    stream = io.BytesIO()
    torch.save({"a": torch.ones(2)}, stream)
    with zipfile.ZipFile(stream) as read, zipfile.ZipFile("c.pth", "w") as written:
        for each in read.namelist():
            written.writestr(name.format(folder) if each.endswith("data/0") else each, read.read(each))
    inspected("c.pth")
    adapter = {"lora_A.weight": torch.ones(1, 2), "lora_B.weight": torch.ones(2, 1)}
    save_file(adapter, "within/adapter_model.safetensors")
    (folder / "within" / "model.safetensors.index.json").unlink()
    said = {"lora_alpha": 1, "base_model_name_or_path": name.format(folder)}
    (folder / "within" / "adapter_config.json").write_text(json.dumps(said))
    rule = dict(type="Pretrained", checkpoint="within", adapt="merge_lora")
    with pytest.raises(CheckpointError, match=r"outside of its folder|not on this machine"):
        initcfg.plan(nn.Linear(2, 2), rule)


def spent(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@says("The time and the memory that opening takes stay within what the size of the files explains.")
def test_time_and_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # A header that says it has 2**60 bytes, a tensor that says it has 2**40 elements.
    Path("a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    shape = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    header = json.dumps(shape).encode()
    Path("b.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    # Keys of one hash, and one list within itself, doubled 60 times.
    keys = {tuple([0] * 2 + [each * (2**61 - 1)]): each for each in range(3000)}
    Path("c.pth").write_bytes(pickle.dumps(keys, protocol=2))
    Path("d.pth").write_bytes(b"\x80\x02]q\x00" + b"".join(b"(h\x00h\x00e" for _ in range(60)) + b".")
    index = '{"weight_map": {' + ", ".join(f'"{each}": "x"' for each in range(40000)) + ', "1": "y"}}'
    Path("e.index.json").write_text(index)
    for name in ("a.safetensors", "b.safetensors", "c.pth", "d.pth", "e.index.json"):
        assert spent(lambda name=name: inspected(name)) < 5, name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@says("A checkpoint that is cut off, or becomes another file, while it is read is an error and no crash.")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files_that_change(suffix: str) -> None:
    state = {"a": torch.arange(300_000.0)}
    for change in ("cut", "replaced", "pipe"):
        path = Path(f"{change}{suffix}")
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        with open_source(str(path)) as opened:
            if change == "cut":
                os.truncate(path, 2000)
            else:
                path.unlink()
                path.write_bytes(b"other") if change == "replaced" else os.mkfifo(path)
            if change == "cut":
                with pytest.raises(CheckpointError):
                    opened.read("a")
                continue
            # A file that is still held is the old one, to the last number; else it is refused.
            try:
                assert torch.equal(opened.read("a"), state["a"])
            except CheckpointError:
                continue


@says("Pipes, sockets and devices are refused before they are opened.")
def test_what_is_no_file() -> None:
    os.mkfifo("pipe.pth")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.pth")
        for name in ("pipe.pth", "socket.pth", "/dev/zero", "/dev/stdin"):
            assert spent(lambda name=name: inspected(name)) < 5, name
            done = CliRunner().invoke(main, ["plan", name if name[0] == "/" else f"./{name}"])
            assert done.exit_code == 2


@says(
    "A plan or a ledger is checked whole when it is read, before a model is touched, and an "
    "error names the place "
    "of the fault."
)
def test_plans_and_ledgers() -> None:
    model = nn.Linear(4, 4)
    plan = initcfg.plan(model, RULE)
    data = plan.to_json()
    data["parameters"]["bias"]["value"] = {"kind": "Normal", "mean": 0.0, "std": "wide"}
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with pytest.raises(SavedPlanError, match=r"parameters\.bias\.value"):
        initcfg.Plan.from_json(data).apply(model, seed=0)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    ledger = plan.apply(model, seed=0).to_json()
    ledger["tensors"]["weight"]["shape"] = [4, "4"]
    with pytest.raises(SavedPlanError, match=r"tensors\.weight\.shape\[1\]"):
        initcfg.Ledger.from_json(ledger)


@says(
    "A formula has only operations that tracing itself writes, and what it takes is bounded by "
    "the tensor that it "
    "makes."
)
@pytest.mark.parametrize(
    "program",
    [
        [["from_file", "secret.bin"], ["result", "$0"]],
        [["set_", "$0"], ["result", "$0"]],
        [["zeros", [1 << 40]], ["result", "$0"]],
        [["random.normal", 0, [1 << 20, 1 << 20]], ["result", "$0"]],
        [["__class__"], ["result", "$0"]],
    ],
)
def test_formulas(program: list[Any]) -> None:
    data = initcfg.plan(nn.Linear(4, 4), RULE).to_json()
    data["parameters"]["weight"]["value"] = {"kind": "Formula", "program": program}
    with pytest.raises(SavedPlanError, match=r"parameters\.weight\.value"):
        initcfg.Plan.from_json(data)


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4).sin())


@says("`initcfg verify FILE` computes no formula that FILE itself brings, unless `--trust-ledger` is given.")
def test_formulas_in_a_file() -> None:
    model = Drawn()
    ledger = initcfg.trace(Drawn).apply(model, seed=0)
    state = {"weight": model.weight.detach()}
    save_file(state, "a.safetensors", metadata={"initcfg.ledger": json.dumps(ledger.to_json())})
    assert CliRunner().invoke(main, ["verify", "a.safetensors"]).exit_code == 2
    assert CliRunner().invoke(main, ["verify", "a.safetensors", "--trust-ledger"]).exit_code == 0


ADDRESS = "https://example.org/a.pth"


@says(
    "Two addresses mean one file in the cache only if they differ in nothing but a signature, "
    "a password, the case "
    "of the host, or what stands behind `#`."
)
def test_addresses() -> None:
    same = [
        ADDRESS,
        "https://Example.ORG/a.pth#part",
        f"{ADDRESS}?X-Amz-Signature=1&X-Amz-Date=2",
        f"{ADDRESS}?Signature=1&Key-Pair-Id=2&Expires=3",
        f"{ADDRESS}?sv=1&sig=2&se=3",
    ]
    assert {key(each) for each in same} == {key(ADDRESS)}
    assert key("https://me:one@example.org/a.pth") == key("https://me:two@example.org/a.pth")
    others = ["key=1", "author=1", "tokenizer=1", "se=1", "sig=1", "Expires=1", "Policy=1", "token=1", "v=2"]
    assert len({key(f"{ADDRESS}?{each}") for each in others} | {key(ADDRESS)}) == len(others) + 1
    assert key("https://me@example.org/a.pth") != key(ADDRESS)


@says("A record in the cache leads to no file outside of the cache, and nothing is deleted on its word.")
@pytest.mark.parametrize("name", ["../../../mine", "{}/mine", "..", "a/b"])
@pytest.mark.parametrize("sha256", ["0" * 64, "../..", "..", 7])
def test_records(folder: Path, name: str, sha256: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITCFG_HOME", str(folder / "home"))
    mine = folder / "mine"
    mine.write_text("kept")
    (folder / "home" / "addresses").mkdir(parents=True)
    record = {"origin": ADDRESS, "name": name.format(folder), "sha256": sha256, "size": 4, "modified": 1}
    record |= {"etag": None, "last_modified": None, "validated": 1.0}
    (folder / "home" / "addresses" / f"{key(ADDRESS)}.json").write_text(json.dumps(record))
    for wanted in (None, "0" * 64):
        assert Cache(ADDRESS).entry(Expected.of("a.pth", wanted)) is None
    assert mine.read_text() == "kept"


@says("Neither a password nor what stands in the query of an address is shown.")
def test_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITCFG_OFFLINE", "1")
    address = "https://me:hunter2@example.org/a.pth?token=abcdef123"
    assert shown(address) == "https://example.org/a.pth?..."
    said = inspected(address)
    assert "hunter2" not in said and "abcdef123" not in said


@says(
    "What a file, a config or a server says is shown with its control characters written out: "
    "it moves no cursor, "
    "sets no title and forges no line."
)
def test_what_is_shown() -> None:
    evil = "a\x1b]0;owned\x07\x1b[2J\u202eb\nerror: forged"
    Path("a.safetensors").write_bytes(save({evil: torch.ones(2)}, metadata={evil: evil}))
    config = {"model": {"type": "Linear", "in_features": 2, "out_features": 2, evil: evil}}
    Path("a.json").write_text(json.dumps(config))
    for words in (["inspect", "a.safetensors", "--full"], ["plan", "a.json"], ["verify", "a.safetensors"]):
        said = CliRunner().invoke(main, words).output
        assert not set("\x1b\x07\u202e") & set(said)
        assert not re.search("^error: forged", said, re.MULTILINE)


@says("Bad input ends in one error and exit code 2, without a traceback, and no file is left half-written.")
def test_bad_input(folder: Path) -> None:
    model = "model: {type: Linear, in_features: 2, out_features: 2, init_cfg: "
    (folder / "a.yaml").write_text(model + "{type: Pretrained, checkpoint: b.pth}}\n")
    (folder / "b.pth").write_bytes(b"PK\x03\x04 no archive")
    done = CliRunner().invoke(main, ["init", "a.yaml", "-o", "out.safetensors"])
    assert done.exit_code == 2
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["a.yaml", "b.pth"]


def test_each_sentence_has_its_test() -> None:
    part = PAGE[PAGE.index("### Checkpoints") : PAGE.index("### Configs")]
    listed = [" ".join(each.split()) for each in re.findall(r"^- (.*(?:\n  .*)*)", part, re.MULTILINE)]
    assert sorted(told) == sorted(listed)
