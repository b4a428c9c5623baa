"""Every command, with arguments that name nothing, or the wrong thing: one error, and what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from folders import inside
from safetensors.torch import save_file
from torch import nn

import initcfg
from initcfg._api.command import main
from initcfg.errors import path_problem

CODE = """
import initcfg
from torch import nn

@initcfg.MODELS.register_module()
class BadArgumentsNet(initcfg.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.fc = nn.Linear(2, 2)
"""
DIGITS = "9" * 5000
# What a path may name that is no plan, no config and no checkpoint.
CONTENTS: dict[str, bytes] = {
    "binary": bytes(range(256)) * 40,
    "empty": b"",
    "digits": f'{{"model": {{"type": "Linear", "in": {DIGITS}}}}}'.encode(),
    "deep": b"[" * 700 + b"]" * 700,
    "deeper": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "list": b"[1, 2]",
    "text": b'"x"',
    "utf-16": b"\xff\xfe{\0}\0",
    "surrogate": b'{"a\\ud800": "\\ud800"}',
}
SUFFIXES = ("yaml", "json", "pth", "safetensors")
TEXTS = ["", "\0", "a\0b.yaml", "\ud800.pth", "x" * 300, "x" * 300 + ".yaml", "x" * 300 + ".pth", "x/" * 3000]
TEXTS += ["afile/x.yaml", "afile/x.pth", "/dev/null", "/proc/self/mem", "~nouser/x.pth", "-", DIGITS]
TEXTS += [
    "http://",
    "hf://",
    "://",
    "timm:",
    "hf:",
    "torchvision:",
    ":",
    "x:y",
    "bad_arguments_net:no",
    "\0:x",
]
TEXTS += [
    "torchvision://",
    "torchvision://\0",
    "open-mmlab://",
    "file://\0",
    "http://[::1",
    "http://a b/x",
    "s3://",
]
TEXTS += [f"{kind}:{name}" for kind in ("hf", "timm", "mmdet") for name in ("\0", "\ud800")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad_arguments_net.py").write_text(CODE)
    rule = dict(type="Constant", val=1, layer="Linear")
    made = {"imports": ["bad_arguments_net"], "model": {"type": "BadArgumentsNet", "init_cfg": rule}}
    (folder / "good.yaml").write_text(json.dumps(made))
    model = nn.Linear(2, 2)
    (folder / "plan.json").write_text(json.dumps(initcfg.plan(model, rule).to_json()))
    ledger = initcfg.init_weights(model, rule, seed=0)
    metadata = {"initcfg.ledger": json.dumps(ledger.to_json())}
    save_file(
        {name: item.detach() for name, item in model.state_dict().items()}, folder / "w.safetensors", metadata
    )
    torch.save(model.state_dict(), folder / "w.pth")
    (folder / "afile").write_text("x")
    for suffix in SUFFIXES:
        for kind, data in CONTENTS.items():
            (folder / f"{kind}.{suffix}").write_bytes(data)
        (folder / f"folder.{suffix}").mkdir()
        (folder / f"broken.{suffix}").symlink_to("nowhere")
        (folder / f"loop.{suffix}").symlink_to(f"loop.{suffix}")
        os.mkfifo(folder / f"pipe.{suffix}")
        locked = folder / f"locked.{suffix}"
        locked.write_text("{}")
        locked.chmod(0)
    return folder


def check(folder: Path, *arguments: str, may_succeed: bool = False) -> str:
    """What is said of bad arguments, after all that holds of any such message."""
    with inside(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = sorted(os.listdir("."))
        done = CliRunner().invoke(main, list(arguments), prog_name="initcfg", env={"HF_HUB_OFFLINE": "1"})
        left = [name for name in sorted(os.listdir(".")) if name not in before and name != "__pycache__"]
        if done.exit_code in (0, 1) and may_succeed:
            return ""
    told = f"{[each[:60] for each in arguments]}: {done.exit_code}\n{done.output[:2000]}"
    assert done.exit_code == 2, told
    assert done.stdout == "", told
    assert done.stderr.startswith("error: ") and done.stderr.count("error: ") == 1, told
    # Neither a traceback, nor the advice to look at one.
    assert "Traceback" not in done.stderr and "INITCFG_TRACEBACK" not in done.stderr, told
    assert "\n  fix: " in done.stderr or "\n  did you mean: " in done.stderr, told
    assert not left, told
    return done.stderr


COMMANDS = {
    "plan": ("plan", "?"),
    "init": ("init", "?", "-o", "made.pth"),
    "init -o": ("init", "good.yaml", "-o", "?", "--seed", "0"),
    "explain": ("explain", "?", "fc.weight"),
    "trace": ("trace", "?"),
    "trace -o": ("trace", "bad_arguments_net:BadArgumentsNet", "-o", "?"),
    "trace --plan": ("trace", "bad_arguments_net:BadArgumentsNet", "--plan", "?"),
    "diff A": ("diff", "?", "plan.json"),
    "diff B": ("diff", "plan.json", "?"),
    "inspect": ("inspect", "?"),
    "verify": ("verify", "?"),
    "verify --plan": ("verify", "w.safetensors", "--plan", "?"),
    "verify --config": ("verify", "w.safetensors", "--config", "?", "--seed", "0"),
}
# Outputs replace files, and what is no suffix names a folder.
OUTPUTS = ("init -o", "trace -o", "trace --plan")


def with_text(command: str, text: str) -> list[str]:
    return [text if each == "?" else each for each in COMMANDS[command]]


@pytest.mark.parametrize("command", COMMANDS)
def test_texts_that_name_nothing(command: str, folder: Path) -> None:
    for text in TEXTS:
        if command in OUTPUTS and path_problem(text) is None and text != "afile/x.pth":
            continue
        check(folder, *with_text(command, text))


# An empty config is no error of its reader, and an empty Python file is one.
PASSABLE = {"empty", "surrogate"}


@pytest.mark.parametrize("kind", [*CONTENTS, "folder", "broken", "loop", "pipe", "locked"])
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in OUTPUTS])
def test_files_of_another_kind(command: str, kind: str, folder: Path) -> None:
    for suffix in SUFFIXES:
        if kind == "locked" and os.access(folder / f"locked.{suffix}", os.R_OK):
            # Nothing is locked for root.
            continue
        check(folder, *with_text(command, f"{kind}.{suffix}"))


@pytest.mark.parametrize("command", OUTPUTS)
def test_outputs_that_cannot_be(command: str, folder: Path) -> None:
    suffix = {"init -o": "pth", "trace -o": "yaml", "trace --plan": "json"}[command]
    for text in (
        f"folder.{suffix}",
        f"nowhere/x.{suffix}",
        f"afile/x.{suffix}",
        "x" * 300 + f".{suffix}",
        f"w.{suffix}x",
    ):
        check(folder, *with_text(command, text))
    assert "is a file, and a checkpoint in shards needs a folder" in check(
        folder, "init", "good.yaml", "-o", "afile", "--shard-size", "1GB"
    )


def test_an_output_that_is_the_config(folder: Path) -> None:
    before = (folder / "good.yaml").read_text()
    check(folder, "init", "good.yaml", "-o", "good.yaml")
    assert (folder / "good.yaml").read_text() == before
    check(folder, "trace", "good.yaml", "-o", "good.yaml")
    assert (folder / "good.yaml").read_text() == before


VALUES = [
    "",
    "../x",
    "\0",
    "\ud800",
    "x" * 300,
    DIGITS,
    "-1",
    "1.5",
    "nan",
    "1e400",
    "18446744073709551616",
    "٣x",
]


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "good.yaml", "-o", "made.pth", "--seed", "?"),
        ("init", "good.yaml", "-o", "made.pth", "--rng", "?"),
        ("init", "good.yaml", "-o", "made", "--shard-size", "?"),
        ("init", "good.yaml", "-o", "made", "--dtype", "?"),
        ("init", "good.yaml", "-o", "made", "--format", "?"),
        ("plan", "good.yaml", "--compat", "?"),
        ("plan", "good.yaml", "--set", "?"),
        ("plan", "good.yaml", "--set", "model=?"),
        ("plan", "good.yaml", "--set", "model.type=?"),
        ("plan", "good.yaml", "--set", "model.init_cfg=?"),
        ("plan", "good.yaml", "--set", "model.init_cfg.type=?"),
        ("plan", "good.yaml", "--set", "model.init_cfg.layer=?"),
        ("verify", "w.safetensors", "--seed", "?"),
        ("verify", "w.safetensors", "--part", "?"),
        ("inspect", "w.pth", "--part", "?"),
        ("explain", "good.yaml", "?"),
        ("list", "?"),
        ("list", "models", "--import", "?"),
        ("list", "layers", "--like", "?"),
        ("diff", "plan.json", "plan.json", "--set-a", "?"),
        ("diff", "good.yaml", "plan.json", "--set-a", "?"),
        ("?",),
    ],
    ids=" ".join,
)
def test_values_of_options(arguments: tuple[str, ...], folder: Path) -> None:
    for value in VALUES:
        check(folder, *(each.replace("?", value) for each in arguments), may_succeed=True)


def apart(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "initcfg", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, check=False, text=True, cwd=folder, env=environment, timeout=120, **options
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("inspect", "w.pth"), 0),
        (("diff", "good.yaml", "plan.json"), 1),
        (("plan", "good.yaml", "--json"), 0),
    ],
    ids=["inspect", "diff", "json"],
)
def test_a_pipe_that_nobody_reads(arguments: tuple[str, ...], code: int, folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = apart(folder, *arguments, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (code, "")


needs_a_full_device = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no device that is full"
)


@needs_a_full_device
def test_a_full_disk_for_errors(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = apart(folder, "--no-such-option", stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    program = (
        "import os; os.rmdir(os.getcwd()); from initcfg._api.command import main; main(['list', 'layers'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, check=False, text=True, cwd=tmp_path, env=environment, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: The folder that this command works in cannot be found")


@needs_a_full_device
@pytest.mark.parametrize("arguments", [("inspect", "w.pth"), ("--help",), ("--version",)], ids=" ".join)
def test_a_full_disk(arguments: tuple[str, ...], folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = apart(folder, *arguments, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert "No space is left" in done.stderr and "INITCFG_TRACEBACK" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_an_encoding_that_lacks_the_characters(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "iso8859-5"}
    command = [sys.executable, "-m", "initcfg", "plan", "good.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, cwd=folder, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"fc.weight" in done.stdout and b"\\xd7" in done.stdout


def test_a_long_name_that_a_file_may_have(folder: Path) -> None:
    """A name that file systems take is taken, though beside it a temporary file has a name of its own."""
    name = "n" * 236 + ".pth"
    with inside(folder):
        done = CliRunner().invoke(main, ["init", "good.yaml", "-o", name, "--seed", "0"])
    assert done.exit_code == 0, done.output
    assert (folder / name).exists()
