"""What a lock cannot know: it is said, and is never taken for the same."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
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


def _sealed(text: str) -> None:
    """Write a lock that says something else, as if it had been made so."""
    from initcfg._api.locks.words import digest

    body = text.rpartition("\nend of lock")[0]
    Path("init.lock").write_text(f"{body}\nend of lock, sha256 {digest(body.encode())}\n")


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
    write(rules=f"dict(type='Pretrained', checkpoint={_checkpoint(1.0, 'folder')!r})")
    text = locked()
    line = next(each for each in text.splitlines() if each.startswith("checkpoint: "))
    _sealed(text.replace(line, "checkpoint: fold unknown"))
    code, said = checked()
    assert code == 1 and "checkpoint fold: nothing told its bytes when it was locked" in said
    assert "4 that cannot be told" in said


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
    assert "w: 4x3 float32 = Constant(val=1.0) <- its constructor" in locked()
    change("untold_net.py", "'a.pt'", "'b.pt'")
    code, said = checked()
    assert code == 1 and "now     Constant(val=2.0)  <- its constructor" in said


@pytest.mark.parametrize(
    "more",
    [
        "self.w = nn.Parameter(torch.load('a.pt'))",
        "self.a.weight.data = torch.load('a.pt')[:2, :2]",
        "import numpy as np; self.a.weight.detach().numpy()[...] = np.load('a.npy')",
        "self.register_buffer('w', torch.load('a.pt'))",
        "import numpy as np; self.register_buffer('w', torch.from_numpy(np.load('a.npy')), persistent=False)",
        "self.a.weight.detach().numpy()[...] = float(__import__('pathlib').Path('a.txt').read_text())",
    ],
)
def test_other_data_and_the_same_code(folder: Path, more: str) -> None:
    def save(number: float) -> None:
        torch.save(torch.full((4, 3), number), "a.pt")
        np.save("a.npy", np.full((2, 2), number, np.float32))
        Path("a.txt").write_text(str(number))

    save(1.0)
    write(more)
    locked()
    save(2.0)
    code, said = checked()
    assert code == 1 and "changed" in said and "Constant(val=2.0)" in said


def test_code_that_ends_in_the_same_numbers(folder: Path) -> None:
    write("self.a.weight.detach().numpy()[...] = 1.0")
    assert 'Computed(code="Linear.reset_parameters") holding Constant(val=1.0)' in locked()
    change("untold_net.py", "= 1.0", "= 0.5 * 2")
    assert checked()[0] == 0


def test_code_that_works_on_what_is_not_drawn_yet(folder: Path) -> None:
    """The memory of a draw holds no numbers while a lock is made: what is made of it is told by none."""
    write("self.w = nn.Parameter(torch.from_numpy(torch.randn(3).numpy() * 2))")
    text = locked()
    line = next(each for each in text.splitlines() if each.startswith("w: "))
    change("untold_net.py", "* 2", "* 3")
    assert checked()[0] == 1, line


def test_bits_beyond_four_digits(folder: Path) -> None:
    table = "self.register_buffer('table', torch.linspace(0, 1, 5))"
    write(table)
    text = locked()
    change("untold_net.py", "torch.linspace(0, 1, 5)", "torch.linspace(0, 1, 5) ** 1.00001")
    code, said = checked()
    assert code == 1 and "changed  table" in said
    # The same with no code that changed, as on another processor: told, and no difference.
    write(table)
    bits = text.partition("bits=")[2][:16]
    _sealed(text.replace(bits, "0" * 16))
    code, said = checked()
    assert code == 0 and "rounding table: alike in four digits, not in all" in said


def test_whether_a_buffer_is_saved(folder: Path) -> None:
    write("self.register_buffer('table', torch.arange(5.))")
    assert "\ntable: buffer 5 float32" in locked()
    change("untold_net.py", "arange(5.)", "arange(5.), persistent=False")
    code, said = checked()
    assert code == 1 and "now     non-persistent buffer 5 float32" in said
    again()
    assert "\ntable: non-persistent buffer 5 float32" in str(initcfg.lock("c.py"))


def test_an_adapter_that_names_its_base(folder: Path) -> None:
    from safetensors.torch import save_file

    def save(number: float, alpha: int) -> None:
        Path("ad/base").mkdir(parents=True, exist_ok=True)
        save_file({"a.weight": torch.full((2, 2), number)}, "ad/base/model.safetensors")
        parts = {"base_model.model.a.lora_A.weight": torch.ones(1, 2),
                 "base_model.model.a.lora_B.weight": torch.ones(2, 1)}  # fmt: skip
        save_file(parts, "ad/adapter_model.safetensors")
        said = {"base_model_name_or_path": "base", "lora_alpha": alpha, "r": 1, "peft_type": "LORA"}
        Path("ad/adapter_config.json").write_text(json.dumps(said))

    save(1.0, 1)
    write(rules="dict(type='Pretrained', checkpoint='ad/adapter_model.safetensors', adapt='merge_lora')")
    locked()
    for number, alpha, name in ((2.0, 1, "base"), (1.0, 2, "adapter_config.json")):
        save(number, alpha)
        code, said = checked()
        assert code == 1 and f"the checkpoint ad/adapter_model.safetensors:{name} holds other bytes" in said


def test_a_checkpoint_that_is_not_there(folder: Path) -> None:
    """What a plan says without it is not what the model starts with: that is neither locked nor compared."""
    write(rules=f"dict(type='Pretrained', checkpoint={_checkpoint(1.0, 'file')!r})")
    locked()
    Path("w.pth").unlink()
    code, said = checked()
    assert code == 2 and "loads a checkpoint that cannot be opened here" in said
    again()
    done = CliRunner().invoke(main, ["lock", "c.py", "-o", "new.lock"])
    assert done.exit_code == 2 and not Path("new.lock").exists()


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
        ("torch.arange(3).to(torch.uint16)", "torch.arange(1, 4).to(torch.uint16)"),
        ("torch.tensor([2**62]).to(torch.uint64)", "torch.tensor([2**61]).to(torch.uint64)"),
        ("torch.arange(3).to(torch.float8_e4m3fn)", "torch.arange(4, 7).to(torch.float8_e4m3fn)"),
        ("torch.ones(3, dtype=torch.complex64)", "torch.full((3,), 1j)"),
        ("torch.eye(3).to_sparse()", "(torch.eye(3) * 2).to_sparse()"),
        ("torch.arange(3).half()", "torch.arange(3).bfloat16()"),
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
