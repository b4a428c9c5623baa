"""What a lock cannot know: it is said, and is never taken for the same."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import initcfg
from initcfg._api.command.cli import main

NET = """
import torch
from torch import nn
import initcfg

@initcfg.MODELS.register_module(name="UntoldNet", force=True)
class Net(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        MORE
"""
FILL = """
import torch
K = 1.0

def fill(t: torch.Tensor) -> torch.Tensor:
    t.detach().numpy()[...] = K
    return t
"""
CONFIG = "imports = ['untold_net']\nmodel = dict(type='UntoldNet', init_cfg=RULES)\n"
MODULES = ("untold_net", "untold_fill", "untold_between", "untold_package", "untold_package.deep")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "untold_fill.py").write_text(FILL)
    yield tmp_path
    again()


def again() -> None:
    """The next import reads the files anew."""
    for name in MODULES:
        sys.modules.pop(name, None)


def write(more: str = "pass", rules: str = "[]", before: str = "") -> None:
    Path("untold_net.py").write_text(NET.replace("MORE", more))
    Path("c.py").write_text(before + CONFIG.replace("RULES", rules))
    again()


def change(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))
    # A file of the same size, changed within a second, would be taken from the cache of bytecode.
    os.utime(path, ns=(0, Path(path).stat().st_mtime_ns + 10**10))


def checked() -> tuple[int, str]:
    """The exit code of a check in which modules are imported anew, and what it said."""
    again()
    done = CliRunner().invoke(main, ["check"])
    return done.exit_code, done.output


def locked(seed: int | None = None) -> str:
    """Lock, and see that a tree in which nothing changed is the same."""
    again()
    initcfg.lock("c.py", seed=seed)
    code, said = checked()
    assert code == 0, said
    return Path("init.lock").read_text()


RULE = "[dict(type='untold_fill.fill', layer='Linear', bias=0)]"


def test_the_module_of_a_function_is_code(folder: Path) -> None:
    write(rules=RULE)
    assert "\ncode: untold_fill " in locked()
    change("untold_fill.py", "K = 1.0", "K = 2.0")
    code, said = checked()
    assert code == 1
    assert "unsure   {a,b}.weight" in said or "unsure   a.weight, b.weight" in said
    assert "code of untold_fill has changed" in said


def test_lines_that_group_otherwise_under_a_seed(folder: Path) -> None:
    write(rules=RULE)
    locked(seed=0)
    split = ", ".join(f"dict(type='untold_fill.fill', name='{name}', bias=0)" for name in "ab")
    change("c.py", RULE, f"[{split}]")
    change("untold_fill.py", "K = 1.0", "K = 2.0")
    code, said = checked()
    assert code == 1, said


def test_a_seed_tells_what_code_wrote(folder: Path) -> None:
    write(rules=RULE)
    locked(seed=0)
    change("untold_fill.py", "K = 1.0", "K = 1.0  # As it was.")
    assert checked()[0] == 0
    change("untold_fill.py", "K = 1.0", "K = 2.0")
    code, said = checked()
    assert code == 1 and "the seed gives others" in said


def _checkpoint(number: float, form: str) -> str:
    """A checkpoint of some form, and how a rule calls it."""
    from safetensors.torch import save_file

    tensors = {f"{name}.{kind}": torch.full((2, 2)[: 2 if kind == "weight" else 1], number)
               for name in "ab" for kind in ("weight", "bias")}  # fmt: skip
    if form == "file":
        torch.save(tensors, "w.pth")
        return Path("w.pth").absolute().as_uri()
    Path("fold").mkdir(exist_ok=True)
    shard = "model-00001-of-00001.safetensors"
    save_file(tensors, f"fold/{shard}")
    index = Path("fold/model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, shard)}))
    return str(index) if form == "index" else "fold"


@pytest.mark.parametrize("form", ["file", "index", "folder"])
def test_the_shards_of_a_checkpoint(folder: Path, form: str) -> None:
    named = _checkpoint(1.0, form)
    write(rules=f"dict(type='Pretrained', checkpoint={named!r})")
    text = locked()
    assert "unknown" not in text
    _checkpoint(2.0, form)
    code, said = checked()
    assert code == 1 and "holds other bytes" in said


def test_a_checkpoint_that_a_function_gives(folder: Path) -> None:
    code = "import torch\n\ndef given():\n    return {'a.weight': torch.ones(2, 2)}\n\n"
    write(rules="dict(type='Pretrained', checkpoint=given)", before=code)
    assert "unknown" not in locked()
    change("c.py", "torch.ones(2, 2)", "torch.ones(2, 2) * 2")
    code_now, said = checked()
    assert code_now == 1 and "holds other bytes" in said


def test_a_checkpoint_whose_bytes_nobody_knows(folder: Path) -> None:
    from initcfg._api.locks.words import digest

    write(rules=f"dict(type='Pretrained', checkpoint={_checkpoint(1.0, 'folder')!r})")
    text = locked()
    line = next(each for each in text.splitlines() if each.startswith("checkpoint: "))
    text = text.replace(line, "checkpoint: fold unknown")
    body = text.rpartition("\nend of lock")[0]
    Path("init.lock").write_text(f"{body}\nend of lock, sha256 {digest(body.encode())}\n")
    code, said = checked()
    assert (
        code == 1 and "checkpoint fold: nothing tells its bytes" in said and "4 that cannot be told" in said
    )


@pytest.mark.parametrize(
    ("more", "files"),
    [
        ("import untold_fill; untold_fill.fill(self.a.weight)", {}),
        ("from untold_fill import fill; fill(self.a.weight)", {}),
        (
            "import untold_between as u; u.fill(self.a.weight)",
            {"untold_between.py": "from untold_fill import *"},
        ),
        (
            "from untold_package import deep; deep.fill(self.a.weight)",
            {"untold_package/__init__.py": "", "untold_package/deep.py": "from untold_fill import fill"},
        ),
        (
            "import importlib; importlib.import_module('untold_fill').fill(self.a.weight)",
            {},
        ),
    ],
)
def test_a_helper_module(folder: Path, more: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    write(more)
    locked()
    change("untold_fill.py", "K = 1.0", "K = 2.0")
    code, said = checked()
    assert code == 1 and "code of untold_fill has changed" in said


def test_a_helper_in_a_folder_that_is_no_package(folder: Path) -> None:
    Path("untold_package").mkdir()
    Path("untold_package/deep.py").write_text(FILL)
    write("from untold_package import deep; deep.fill(self.a.weight)")
    assert "\ncode: untold_package.deep " in locked()
    change("untold_package/deep.py", "K = 1.0", "K = 2.0")
    assert checked()[0] == 1


def test_what_was_imported_before_makes_no_difference(folder: Path) -> None:
    write("self.a.weight.detach().numpy()[...] = 1\n\n    def later(self):\n        import untold_fill")
    text = locked()
    assert "\ncode: untold_fill " in text
    again()
    import untold_fill  # noqa: F401  # pyright: ignore[reportMissingImports]

    assert initcfg.check().same


def test_a_parameter_that_a_constructor_loads(folder: Path) -> None:
    for name, number in (("a.pt", 1.0), ("b.pt", 2.0)):
        torch.save(torch.full((4, 3), number), name)
    write("self.w = nn.Parameter(torch.load('a.pt'))")
    assert "w: 4x3 float32 = Keep()" in locked()
    change("untold_net.py", "'a.pt'", "'b.pt'")
    code, said = checked()
    assert code == 1 and "unsure   w:" in said


def test_a_lock_says_of_what_it_can_tell_less(folder: Path) -> None:
    write(rules=RULE)
    said = CliRunner().invoke(main, ["lock", "c.py"]).output
    assert "  2 made by code: a check tells whether that code changes" in said
    again()
    assert "made by code" not in CliRunner().invoke(main, ["lock", "c.py", "--seed", "0"]).output


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.arange(5.)", "torch.arange(5.).flip(0)"),
        ("torch.tensor([0, 1, 2, 3])", "torch.tensor([0, 2, 1, 3])"),
        ("torch.tensor([2**60])", "torch.tensor([2**60 + 1])"),
        ("torch.tensor([True, False, True])", "torch.tensor([True, True, False])"),
    ],
)
def test_buffers(folder: Path, old: str, new: str) -> None:
    write(f"self.register_buffer('table', {old})")
    locked()
    change("untold_net.py", old, new)
    code, said = checked()
    assert code == 1 and "changed  table" in said


def test_a_function_in_the_config(folder: Path) -> None:
    write(rules="[dict(type=fill, layer='Linear')]", before=FILL)
    locked()
    change("c.py", "K = 1.0", "K = 2.0")
    code, said = checked()
    assert code == 1 and "config c.py has changed" in said and "unsure" in said
