"""Locks: what a model starts with, as text; whether it still does; and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import initcfg
from initcfg._api.command.cli import main
from initcfg._api.locks.words import names_in, patterns_of
from initcfg.errors import LockError

NET = """
import torch
from torch import nn
import initcfg

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

@initcfg.MODELS.register_module(name="LockedNet", force=True)
class Net(nn.Module):
    def __init__(self, depth=3, width=4, std=0.02):
        super().__init__()
        self.embed = nn.Embedding(5, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embed.weight
        self.pos = nn.Parameter(torch.empty(1, 2, width))
        nn.init.normal_(self.pos, std=std)
        self.register_buffer("table", torch.arange(4.0))

def net(depth=3) -> nn.Module:
    return Net(depth)
"""
CONFIG = """
imports: [locked_net]
model:
  type: LockedNet
  init_cfg: {type: TruncNormal, layer: Linear, std: 0.5}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "locked_net.py").write_text(NET)
    (tmp_path / "net.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("locked_net", None)


def again() -> None:
    """The next import reads the file anew."""
    sys.modules.pop("locked_net", None)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    # A file of the same size, changed within a second, would be taken from the cache of bytecode.
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**10))
    again()


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*words])
    return done.exit_code, done.output


def test_a_line_for_tensors_that_are_alike(folder: Path) -> None:
    lines = str(initcfg.lock("net.yaml")).splitlines()
    assert lines[0] == "initcfg lock, version 1"
    trunc = "TruncNormal(mean=0.0, std=0.5, a=-2.0, b=2.0)"
    start = lines.index("")
    assert lines[start + 1 : start + 4] == ["[net.yaml]", f"initcfg: {initcfg.__version__}", "stream: 1"]
    assert [line for line in lines if " = " in line or "tied" in line] == [
        "pos: 1x2x4 float32 = Normal(mean=0.0, std=0.02) <- default, Net.__init__",
        f"embed.weight: 5x4 float32 = {trunc} <- model.init_cfg",
        "blocks.{0..2}.norm.weight: 4 float32 = Constant(val=1.0) <- default, LayerNorm.reset_parameters",
        "blocks.{0..2}.norm.bias: 4 float32 = Constant(val=0.0) <- default, LayerNorm.reset_parameters",
        f"blocks.{{0..2}}.fc.weight: 4x4 float32 = {trunc} <- model.init_cfg",
        "blocks.{0..2}.fc.bias: 4 float32 = Constant(val=0.0) <- model.init_cfg",
        "table: buffer 4 float32 = Kept(min=0, max=3, rms=1.871, placed=1.696, bits=9392b85eaba90b4a)"
        " <- its constructor",
        "head.weight: tied to embed.weight",
    ]


def test_nothing_changed(folder: Path) -> None:
    code, said = run("lock", "net.yaml")
    assert (code, said) == (0, "init.lock: net.yaml, 15 tensors in 7 lines\n")
    assert run("check") == (0, "net.yaml: 15 tensors start as locked.\n")
    before = Path("init.lock").read_bytes()
    assert run("lock")[0] == 0
    assert Path("init.lock").read_bytes() == before


def test_the_config_changed(folder: Path) -> None:
    initcfg.lock("net.yaml")
    change(folder / "net.yaml", "0.5", "0.25")
    code, said = run("check")
    assert code == 1
    assert said.splitlines() == [
        "changed  embed.weight",
        "    before  TruncNormal(mean=0.0, std=0.5, a=-2.0, b=2.0)  <- model.init_cfg",
        "    now     TruncNormal(mean=0.0, std=0.25, a=-2.0, b=2.0)  <- model.init_cfg",
        "changed  blocks.{0..2}.fc.weight  ×3",
        "    before  TruncNormal(mean=0.0, std=0.5, a=-2.0, b=2.0)  <- model.init_cfg",
        "    now     TruncNormal(mean=0.0, std=0.25, a=-2.0, b=2.0)  <- model.init_cfg",
        "net.yaml: 4 changed; 11 of 15 as locked.",
        "  what changed:  config net.yaml has changed",
    ]


@pytest.mark.parametrize(
    ("old", "new", "field", "names"),
    [
        ("std=0.02", "std=0.03", "changed", ["pos"]),
        (
            "self.norm, self.fc =",
            "self.norm, self.proj =",
            "renamed",
            ["blocks.0.fc.weight", "blocks.2.fc.bias"],
        ),
        ("range(depth)", "range(depth + 1)", "added", ["blocks.3.fc.weight", "blocks.3.norm.bias"]),
        ("range(depth)", "range(depth - 1)", "removed", ["blocks.2.fc.weight", "blocks.2.norm.bias"]),
        ("empty(1, 2, width)", "empty(1, 3, width)", "changed", ["pos"]),
        ("self.head.weight = self.embed.weight", "pass", "added", ["head.weight"]),
        ("self.head.weight = self.embed.weight", "pass", "tied", ["head.weight"]),
        ("arange(4.0)", "arange(4.0) * 2", "changed", ["table"]),
        ("torch.arange(4.0)", "torch.arange(4)", "changed", ["table"]),
    ],
)
def test_the_code_changed(folder: Path, old: str, new: str, field: str, names: list[str]) -> None:
    initcfg.lock("net.yaml")
    change(folder / "locked_net.py", old, new)
    found = initcfg.check()
    assert not found.same
    assert set(names) <= set(getattr(found.models[0], field))
    assert "code of locked_net has changed" in found.models[0].causes
    assert json.loads(json.dumps(found.to_json()))["same"] is False
    again()
    assert run("check")[0] == 1
    again()
    assert run("lock")[0] == 0
    again()
    assert run("check")[0] == 0


def test_code_that_changes_nothing_is_no_change(folder: Path) -> None:
    initcfg.lock("net.yaml")
    change(folder / "locked_net.py", "class Block", "# Moved by a line.\n\nclass Block")
    found = initcfg.check()
    assert found.same
    assert found.models[0].causes == ("code of locked_net has changed",)


def test_a_rule_that_moved_is_told_and_no_change(folder: Path) -> None:
    initcfg.lock("net.yaml")
    change(
        folder / "net.yaml",
        "{type: TruncNormal, layer: Linear, std: 0.5}",
        "[{type: TruncNormal, layer: Linear, std: 0.5}]",
    )
    code, said = run("check")
    assert (code, said) == (0, "net.yaml: 15 tensors start as locked; the rules of 7 have another place.\n")


FAKE = """
from torch import nn
__version__ = "1.0"

class Net(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        nn.init.normal_(self.weight, std=0.1)
"""


def test_a_library_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library is named with its version, and its numbers stay what they were."""
    package = folder / "site-packages" / "fakelib"
    package.mkdir(parents=True)
    source = FAKE
    (package / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder / "site-packages"))
    initcfg.lock("fakelib:Net")
    assert "library: fakelib 1.0" in Path("init.lock").read_text()
    (package / "__init__.py").write_text(source.replace('"1.0"', '"2.0.1"').replace("std=0.1", "std=0.05"))
    sys.modules.pop("fakelib")
    found = initcfg.check()
    sys.modules.pop("fakelib")
    assert list(found.models[0].changed) == ["weight"]
    assert found.models[0].causes == ("library fakelib 1.0 → 2.0.1",)


def test_nothing_that_is_named_changed(folder: Path) -> None:
    made = initcfg.lock("net.yaml")
    text = str(made).replace(
        "pos: 1x2x4 float32 = Normal(mean=0.0, std=0.02)", "pos: 1x2x4 float32 = Normal(mean=0.0, std=1.0)"
    )
    Path("init.lock").write_text(_sealed(text))
    found = initcfg.check()
    assert list(found.models[0].changed) == ["pos"]
    assert found.models[0].causes == (
        "nothing that the lock names: what is left is data that code reads, torch, or what these import",
    )


def _sealed(text: str) -> str:
    from initcfg._api.locks.words import digest

    body = text.rpartition("\nend of lock")[0]
    return f"{body}\nend of lock, sha256 {digest(body.encode())}\n"


def test_another_stream_gives_other_numbers(folder: Path) -> None:
    made = initcfg.lock("net.yaml")
    Path("init.lock").write_text(_sealed(str(made).replace("stream: 1", "stream: 0")))
    code, said = run("check")
    assert code == 1
    assert "the random stream has version 1, and had 0: a seed gives other numbers" in said


def test_numbers_of_a_seed(folder: Path) -> None:
    initcfg.lock("net.yaml", seed=7)
    text = Path("init.lock").read_text()
    assert "\nseed: 7\n" in text and text.count(" #") >= 7
    assert run("check") == (0, "net.yaml: 15 tensors start as locked.\n")
    line = next(each for each in text.splitlines() if each.startswith("embed.weight"))
    digest = line.partition(" #")[2][:16]
    Path("init.lock").write_text(_sealed(text.replace(digest, "0" * 16)))
    found = initcfg.check()
    assert found.models[0].numbers == ("embed.weight",)
    assert run("lock")[0] == 0
    assert Path("init.lock").read_text() == text


OWN = """
from torch import nn
import initcfg
class Own(initcfg.BaseModule):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def init_weights(self):
        if float(self.fc.weight.sum()) < 100:
            self.fc.weight.data.copy_(self.fc.weight.data * 2 + 1)
"""


def test_code_that_no_lock_can_look_into(folder: Path) -> None:
    path = folder / "locked_net.py"
    path.write_text(OWN)
    initcfg.lock("locked_net:Own")
    before = Path("init.lock").read_text()
    assert "Opaque(" in before or "Formula(" in before
    change(path, "* 2 + 1", "* 3 + 1")
    found = initcfg.check()
    assert not found.same
    initcfg.lock("locked_net:Own", seed=0)
    change(path, "* 3 + 1", "* 4 + 1")
    assert not initcfg.check().same


def test_a_checkpoint_with_other_bytes(folder: Path) -> None:
    import torch

    torch.save({"weight": torch.ones(2, 2), "bias": torch.zeros(2)}, "w.pth")
    linear = ["in_features=2", "out_features=2", "init_cfg=dict(type='Pretrained', checkpoint='w.pth')"]
    initcfg.lock("torch.nn:Linear", overrides=linear)
    text = Path("init.lock").read_text()
    assert "checkpoint: w.pth " in text
    assert 'weight: 2x2 float32 = FromCheckpoint(source="w.pth", key="weight")' in text
    assert initcfg.check().same
    torch.save({"weight": torch.ones(2, 2) * 2, "bias": torch.zeros(2)}, "w.pth")
    found = initcfg.check()
    assert found.models[0].beside == ("the checkpoint w.pth holds other bytes",)
    assert not found.same


def test_several_models(folder: Path) -> None:
    assert run("lock", "net.yaml", "locked_net:net", "-o", "all.lock")[0] == 0
    assert run("check", "all.lock")[1].count("as locked") == 2
    change(folder / "net.yaml", "0.5", "0.25")
    found = initcfg.check("all.lock")
    assert [each.same for each in found.models] == [False, True]
    code, said = run("lock", "net.yaml", "./net.yaml")
    assert code == 2 and "'net.yaml' is to be locked twice." in said


def test_both_move_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "configs").mkdir()
    (folder / "net.yaml").rename(folder / "configs/net.yaml")
    initcfg.lock("configs/net.yaml")
    assert "[configs/net.yaml]\n" in Path("init.lock").read_text()
    moved = folder / "elsewhere"
    moved.mkdir()
    (folder / "configs").rename(moved / "configs")
    (folder / "init.lock").rename(moved / "init.lock")
    assert initcfg.check("elsewhere/init.lock").same
    monkeypatch.chdir(moved / "configs")
    assert initcfg.check("../init.lock").same


def test_a_config_that_is_gone(folder: Path) -> None:
    initcfg.lock("net.yaml")
    (folder / "net.yaml").unlink()
    code, said = run("check")
    assert code == 2
    assert "The model of 'net.yaml', which 'init.lock' locks, cannot be planned any more." in said


def test_line_ends_of_windows(folder: Path) -> None:
    initcfg.lock("net.yaml")
    for name in ("init.lock", "net.yaml", "locked_net.py"):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    again()
    found = initcfg.check()
    assert found.same and found.models[0].causes == ()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "'init.lock' is cut off"),
        (
            lambda text: text.replace("version 1", "version 2", 1),
            "is a lock of version 2; this package reads version 1",
        ),
        (lambda text: text.replace("std=0.5", "std=0.4"), "'init.lock' was changed by hand"),
        (
            lambda text: text.replace("\npos", "\n<<<<<<< HEAD\npos", 1),
            "'init.lock' has a conflict of a merge in it.",
        ),
        (lambda text: "", "'init.lock' is not a lock"),
        (lambda text: "\0\1\2", "'init.lock' is not a lock"),
        (lambda text: _sealed(text.replace("pos: ", "pos; ")), "This line of the lock cannot be read"),
        (lambda text: _sealed(text.replace("{0..2}", "{0..99999999999}")), "more names than a model has"),
        (
            lambda text: _sealed(text.replace("\npos:", "\nembed.weight:")),
            "'embed.weight' stands there twice",
        ),
        (
            lambda text: _sealed(text.replace("stream: 1", "stream: 1\nstream: 1")),
            "'stream' stands there twice",
        ),
        (lambda text: _sealed(text.replace("stream: 1", "steam: 1")), "there is no such entry as 'steam'"),
        (lambda text: _sealed(text.replace("[net.yaml]", "net.yaml")), "'init.lock' locks no model."),
    ],
)
def test_what_is_no_lock(folder: Path, spoil, said: str) -> None:
    initcfg.lock("net.yaml")
    path = folder / "init.lock"
    path.write_text(spoil(path.read_text()))
    code, out = run("check")
    assert code == 2 and said in out, out
    assert "fix:" in out
    with pytest.raises(LockError):
        initcfg.check("init.lock")


def test_what_is_given_in_the_place_of_a_lock(folder: Path) -> None:
    Path("d.lock").mkdir()
    for name in ("net.yaml", "locked_net.py"):
        code, said = run("check", name)
        assert code == 2 and f"'{name}' is not a lock" in said
        assert "Give a lock, such as init.lock; initcfg lock CONFIG makes one." in said
    code, said = run("check", "d.lock")
    assert code == 2 and "'d.lock' cannot be read: Is a directory." in said and "Errno" not in said


def test_what_cannot_be_locked(folder: Path) -> None:
    code, said = run("check")
    assert code == 2 and "There is no file 'init.lock'." in said
    code, said = run("lock")
    assert code == 2 and "There is no file 'init.lock'." in said
    code, said = run("lock", "nothing.yaml")
    assert code == 2 and not Path("init.lock").exists()
    code, said = run("lock", "net.yaml", "-o", "lock.txt")
    assert code == 2 and ".lock" in said
    code, said = run("lock", "locked_net:net", "--untrusted")
    assert code == 2 and not Path("init.lock").exists()


def test_a_lock_is_no_way_around_trust(folder: Path) -> None:
    """What a lock names is built as any config: of one that is not trusted, no code."""
    initcfg.lock("locked_net:net")
    code, said = run("check", "--untrusted")
    assert code == 2 and "locked_net:net" in said
    code, said = run("check", "--no-python")
    assert code == 2


@pytest.mark.parametrize(
    "names",
    [
        ["a.0.b", "a.1.b", "a.3.b"],
        ["a.01", "a.1", "a.2"],
        ["blocks.0.x", "blocks.1.x", "blocks.10.x"],
        ["a1.0.c", "a1.1.c", "a2.0.c", "a2.1.c", "a2.2.c"],
        ["weight of it"],
        ['quote".w', "brace{0..3}.w", "colon: x", "#7.w", "<-", "ünï.w", "a\nb"],
        ["9" * 30],
    ],
)
def test_names_come_back(names: list[str]) -> None:
    text = patterns_of(names)
    assert sorted(names_in(text)) == sorted(names)
    assert "\n" not in text and ": " not in text


def test_the_torch_at_hand_leaves_no_trace(folder: Path) -> None:
    import torch

    text = str(initcfg.lock("net.yaml", "locked_net:net"))
    assert torch.__version__ not in text and "torch " not in text and ".py:" not in text


def test_in_a_process_of_its_own(folder: Path) -> None:
    """As pre-commit and CI run it; nothing depends on what ran before."""
    initcfg.lock("locked_net:net")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "initcfg", "check", "--json"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same"] is True
