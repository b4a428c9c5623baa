"""Other people's code that asks for the end of the process: an error, whatever code it asks to end with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from initcfg._api.command import main

CODE = """
import sys

import click
import initcfg
import torch
from torch import nn


class Ends(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        sys.exit(0)


class Word(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        sys.exit("done")


class Generator(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        raise GeneratorExit


class Clicks(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        click.get_current_context().exit(0)


class Interrupted(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        raise KeyboardInterrupt


class Init(initcfg.BaseModule):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def init_weights(self):
        sys.exit(0)


class Forward(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, x):
        sys.exit(0)


class Stops(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, x):
        return next(iter([]))


class Fine(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)


def batch():
    return torch.ones(2, 4), torch.zeros(2, dtype=torch.long)


def ends():
    sys.exit(0)


def loss(output, targets):
    sys.exit(0)


def stops(output, targets):
    return next(iter([]))
"""
FINE = "class Fine(nn.Linear):\n    def __init__(self, *_):"
ENDED = "error: Code of the model ended the process: SystemExit(0)."


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "models_that_end.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "models_that_end", raising=False)

    def command(*words: str) -> Result:
        return CliRunner().invoke(main, list(words))

    return command


def refused(done: Result) -> str:
    assert done.exit_code == 2, done.output
    return done.output


@pytest.mark.parametrize("name", ["Ends", "Init"])
@pytest.mark.parametrize(
    "words", [("plan",), ("init", "-o", "w.safetensors"), ("init", "-o", "folder"), ("diagnose",)]
)
def test_a_constructor_and_an_initializer_that_end_the_process(run: Any, name: str, words: tuple[str, ...]):
    first, second, *_ = refused(run(words[0], f"models_that_end:{name}", *words[1:])).splitlines()
    assert first == ENDED
    assert second.startswith("  fix:")
    assert not Path("w.safetensors").exists() and not list(Path(".").glob("folder/*"))


def test_it_says_where(run: Any):
    *_, last = refused(run("plan", "models_that_end:Ends")).splitlines()
    assert last.startswith("  raised at:") and last.endswith("models_that_end.py:13")


def test_check_does_not_say_that_all_is_the_same(run: Any):
    assert run("lock", "models_that_end:Fine", "-o", "c.lock").exit_code == 0
    # A 1 would be no better: it says that something differs.
    for end, told in (("sys.exit(0)", "SystemExit(0)"), ("raise GeneratorExit", "GeneratorExit()")):
        code = CODE.replace("class Fine(nn.Linear):\n    def __init__(self):", f"{FINE}\n        {end}")
        Path("models_that_end.py").write_text(code)
        del sys.modules["models_that_end"]
        assert f"Code of the model ended the process: {told}." in refused(run("check", "c.lock"))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("Fine", ("--batch", "models_that_end.py:ends")),
        ("Forward", ("--batch", "models_that_end.py:batch")),
        ("Fine", ("--batch", "models_that_end.py:batch", "--loss", "models_that_end.py:loss")),
    ],
)
def test_a_batch_a_forward_and_a_loss_that_end_the_process(run: Any, model: str, options: tuple[str, ...]):
    assert ENDED in refused(run("diagnose", f"models_that_end:{model}", *options))


@pytest.mark.parametrize(
    ("name", "told"),
    [("Word", "SystemExit('done')"), ("Generator", "GeneratorExit()"), ("Clicks", "Exit(0)")],
)
def test_other_ways_to_end(run: Any, name: str, told: str):
    assert f"error: Code of the model ended the process: {told}." in refused(
        run("plan", f"models_that_end:{name}")
    )


def test_a_module_that_ends_the_process(run: Any):
    Path("module_that_ends.py").write_text("import sys\nsys.exit(0)\n")
    assert "SystemExit" in refused(run("plan", "module_that_ends:Model"))


def test_an_interrupt_and_the_help_stay_what_they_are(run: Any):
    assert run("plan", "models_that_end:Interrupted").exit_code == 130
    for words in (("--help",), ("--version",), ("plan", "--help")):
        assert run(*words).exit_code == 0
    assert run("plan", "--nonsense").exit_code == 2


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("Stops", (), "The model failed on the batch: StopIteration"),
        ("Fine", ("--loss", "models_that_end.py:stops"), "The loss failed on the batch: StopIteration"),
    ],
)
def test_a_stop_iteration_is_told_as_any_other_failure(
    run: Any, model: str, options: tuple[str, ...], told: str
):
    words = ("diagnose", f"models_that_end:{model}", "--batch", "models_that_end.py:batch", *options)
    assert f"error: {told}" in refused(run(*words))
