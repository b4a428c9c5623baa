"""Completion, in a real bash, and in the words that zsh and fish get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NET = """
from torch import nn

def net(width=4, depth=2) -> nn.Module:
    print("printed while it is built")
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "completed_net.py").write_text(NET)
    (tmp_path / "net.yaml").write_text(
        "model:\n  type: Linear\n  in_features: 2\n  out_features: 3\n  init_cfg: [{type: Normal, std: 1}]\n"
    )
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    command = folder / "bin"
    command.mkdir(exist_ok=True)
    script = command / "initcfg"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m initcfg "$@"\n')
    script.chmod(0o755)
    path = f"{command}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}


def in_bash(folder: Path, *lines: tuple[str, ...]) -> list[list[str]]:
    """What bash offers after each of these words, the last of which is begun."""
    calls = "\n".join(
        f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; COMPREPLY=()\n"
        '_initcfg_completion initcfg; printf "%s " "${COMPREPLY[@]}"; echo'
        for words in lines
    )
    text = f'eval "$(initcfg completion bash)"\ncomplete -p initcfg\n{calls}\n'
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", text],
        cwd=folder, env=environment(folder), check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    first, *others = done.stdout.splitlines()
    assert first == "complete -o nosort -F _initcfg_completion initcfg"
    return [each.split() for each in others]


def test_in_bash(folder: Path) -> None:
    found = in_bash(
        folder,
        ("initcfg", "pl"),
        ("initcfg", "explain", "completed_net:net", "1."),
        ("initcfg", "plan", "net.yaml", "--set", "model.o"),
        ("initcfg", "plan", "completed_net:net", "--set", "d"),
        ("initcfg", "plan", "tor"),
        ("initcfg", "explain", "nothing.yaml", ""),
        ("initcfg", "explain", "--no-python", "completed_net:net", ""),
    )
    assert found == [
        ["plan"],
        ["1.weight", "1.bias"],
        ["model.out_features="],
        ["depth="],
        ["torchvision:"],
        [],
        [],
    ]


LIBRARIES = {
    "timm/models/nets.py": "from x import y\n@register_model\ndef vit_one(pretrained=False): ...\n"
    "@register_model\n@cached\ndef resnet9(): ...\ndef resnet_helper(): ...\n",
    "torchvision/models/nets.py": "@register_model()\n@handle(weights=(\n  'x',\n))\ndef resnet18(): ...\n",
    "torchvision/models/quantization/nets.py": '@register_model(name="quantized_net")\ndef net(): ...\n',
    "transformers/models/auto/auto_mappings.py": 'N = {"gpt2": "GPT2Config", "gpt-sw3": "GPT2Config"}\n'
    'M = OrderedDict([("llama", "LlamaConfig"), ("llama", "LlamaModel")])\n',
}


def test_names_of_a_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read in its sources: a package that cannot be imported has them, too."""
    for name, text in LIBRARIES.items():
        path = folder / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in ("timm", "torchvision", "transformers"):
        (folder / "lib" / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(folder / "lib"))
    found = in_bash(
        folder,
        ("initcfg", "plan", "timm:"),
        ("initcfg", "explain", "timm:vit"),
        ("initcfg", "plan", "torchvision:"),
        ("initcfg", "init", "hf:g"),
        ("initcfg", "lock", "hf:l"),
        ("initcfg", "diff", "timm:r"),
    )
    assert found == [
        ["timm:resnet9", "timm:vit_one"],
        ["timm:vit_one"],
        ["torchvision:quantized_net", "torchvision:resnet18"],
        ["hf:gpt-sw3", "hf:gpt2"],
        ["hf:llama"],
        ["timm:resnet9"],
    ]


def test_names_of_commands_load_no_torch(folder: Path) -> None:
    code = (
        "import sys\n"
        "from initcfg._api.command.cli import main\n"
        "try:\n    main.main(prog_name='initcfg')\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    given = {"_INITCFG_COMPLETE": "bash_complete", "COMP_WORDS": "initcfg ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env={**environment(folder), **given}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert {"plain,plan", "plain,lock", "plain,check", "plain,schema", "plain,completion"} <= set(lines)
    assert lines[-1] == "False False"


@pytest.mark.parametrize(
    ("shell", "said"),
    [("bash", "complete -o nosort"), ("zsh", "#compdef initcfg"), ("fish", "complete --no-files")],
)
def test_what_each_shell_reads(shell: str, said: str) -> None:
    from click.testing import CliRunner

    from initcfg._api.command.cli import main

    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0 and said in done.output and "_INITCFG_COMPLETE" in done.output
