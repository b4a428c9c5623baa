"""Errors of other people's code: file and line of that code, and the whole traceback on request."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from initcfg._api.command import main

CODE = """
import initcfg
from torch import nn


class Refused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, groups=2)


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        raise LookupError("no weather today")


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = initcfg.MODELS.build(dict(type="Nope"))


class Prints(nn.Linear):
    def __init__(self):
        print("built")
        super().__init__(1, 1)

    def init_weights(self):
        print("initialized")


class Init(initcfg.BaseModule):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def init_weights(self):
        super().init_weights()
        nn.init.orthogonal_(self.linear.bias)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "their_models_that_raise.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "their_models_that_raise", raising=False)

    def command(*words: str) -> list[str]:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == 2
        return done.output.replace(str(tmp_path), "HERE").splitlines()

    return command


def test_a_library_refuses_what_a_constructor_asks(run: Any):
    first, second, third = run("plan", "their_models_that_raise:Refused")
    assert first == (
        "error: ValueError: in_channels must be divisible by groups (HERE/their_models_that_raise.py:9)"
    )
    assert second.startswith("  raised at:")
    assert "torch/nn/modules/conv.py:" in second.replace("\\", "/")
    assert third == "  INITCFG_TRACEBACK=1 shows the whole traceback of this unexpected error."


def test_a_constructor_raises(run: Any):
    assert run("plan", "their_models_that_raise:Raises")[:1] == [
        "error: LookupError: no weather today (HERE/their_models_that_raise.py:15)"
    ]


def test_the_calls_of_ones_own_code_are_shown(run: Any, tmp_path: Path):
    (tmp_path / "deep_net.py").write_text(
        "from torch import nn\n\n\ndef width(c):\n    return c['wdith']\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, c):\n        super().__init__()\n"
        "        self.fc = nn.Linear(2, width(dict(c)))\n"
    )
    (tmp_path / "net.yaml").write_text("model: {type: deep_net.Net, c: {width: 3}}\n")
    assert run("plan", "net.yaml")[:2] == [
        "error: KeyError: 'wdith' (HERE/deep_net.py:5)",
        "  called from:  HERE/deep_net.py:11, in __init__: self.fc = nn.Linear(2, width(dict(c)))",
    ]


def test_the_whole_traceback_on_request(run: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INITCFG_TRACEBACK", "1")
    for name, line, last in (("Raises", 15, "LookupError: no weather"), ("Nested", 21, "type='Nope' names")):
        lines = run("plan", f"their_models_that_raise:{name}")
        assert lines[0] == "Traceback (most recent call last):"
        assert any(f'HERE/their_models_that_raise.py", line {line}' in each for each in lines)
        assert any(last in each for each in lines if each.startswith("error: "))


def test_what_our_own_functions_refuse_says_who_called(run: Any):
    lines = run("plan", "their_models_that_raise:Nested")
    assert lines[0].startswith("error: type='Nope' names nothing that can be built.")
    assert lines[-1] == "  called at:    HERE/their_models_that_raise.py:21"


def test_what_their_code_prints_is_no_part_of_the_answer(run: Any, tmp_path: Path):
    (tmp_path / "config.py").write_text(
        "print('read')\nmodel = dict(type='their_models_that_raise:Prints')\n"
    )
    for words in (("plan",), ("init", "-o", "weights.safetensors", "--seed", "0"), ("trace",)):
        done = CliRunner().invoke(main, [words[0], "config.py", *words[1:], "--json"])
        assert done.exit_code == 0, done.output
        assert isinstance(json.loads(done.stdout), dict)
        assert "built" in done.stderr.splitlines()
        assert "read" in done.stderr.splitlines()


def test_code_that_initializes_raises(run: Any):
    lines = run("init", "their_models_that_raise:Init", "-o", "weights.safetensors", "--seed", "0")
    assert "of the model raised ValueError: Only tensors with 2 or more dimensions" in lines[0]
    assert lines[-1] == "  raised at:    HERE/their_models_that_raise.py:40"
    assert not Path("weights.safetensors").exists()


def test_what_an_error_came_of_is_told(run: Any, tmp_path: Path):
    (tmp_path / "wrapping.py").write_text(
        "try:\n"
        "    open('there_is_no_library.so')\n"
        "except OSError as error:\n"
        "    raise RuntimeError('operator wrapping::nms does not exist') from error\n"
    )
    (tmp_path / "quiet.py").write_text(
        "try:\n    {}['no']\nexcept KeyError:\n    raise RuntimeError('nothing more to say') from None\n"
    )
    for name, lines in (
        ("wrapping", ["HERE/wrapping.py:4", "HERE/wrapping.py:2"]),
        ("quiet", ["HERE/quiet.py:4"]),
    ):
        (tmp_path / f"uses_{name}.py").write_text(f"def net():\n    import {name}\n")
        for builder in (f"{name}:net", f"uses_{name}:net"):
            told = run("plan", builder)
            assert lines[0] in "".join(told)
            causes = [each for each in told if each.startswith("  caused by:")]
            assert len(causes) == len(lines) - 1
            for cause, line in zip(causes, lines[1:], strict=True):
                assert cause.startswith("  caused by:    FileNotFoundError: ") and line in cause
