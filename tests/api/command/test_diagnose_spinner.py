"""The spinner of ``initcfg diagnose``: what stands on a real terminal at each pass, and nothing in a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

# Its forward waits until the terminal has been looked at: what is seen then is no matter of luck.
CODE = """
import os
import torch
from torch import nn

ASK, GO = (int(each) for each in os.environ.get("WATCHED", "-1,-1").split(","))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        if ASK >= 0:
            os.write(ASK, b"?")
            os.read(GO, 1)
        return self.head(self.body(x).relu())

def build():
    print("printed by the model's code")
    return Net()

def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 16, generator=generator), torch.arange(32) % 4
"""
COMMAND = ["diagnose", "watched_nets:build", "--batch", "watched_nets.py:batch", "--lr", "1", "--steps", "2"]
# A line of the spinner, as it is drawn: its sign in green, then what is done.
DRAWN = re.compile(r"\x1b\[32m[\u2800-\u28ff]\x1b\[0m ([^\r\n\x1b]+)")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\u2800-\u28ff]")


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "watched_nets.py").write_text(CODE, encoding="utf-8")
    return tmp_path


def _environment(**more: str) -> dict[str, str]:
    # Where colors are turned off or on by force is no matter of this.
    kept = {key: item for key, item in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, "TERM": "xterm", "COLUMNS": "100", **more}


class Watched:
    """The command on a terminal of its own, standard output in a pipe, looked at as each pass begins."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = pty.openpty()
        asked, ask = os.pipe()
        go, released = os.pipe()
        self.screen, self.at_passes = "", list[str]()
        process = subprocess.Popen(
            [sys.executable, "-m", "initcfg", *COMMAND],
            cwd=folder,
            env=_environment(WATCHED=f"{ask},{go}"),
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            pass_fds=(ask, go),
        )
        for each in (theirs, ask, go):
            os.close(each)
        held = b""
        waiting = 0
        try:
            while True:
                ready = select.select([ours, asked], [], [], 120)[0]
                assert ready, f"the command says no more after {self.screen[-200:]!r}"
                if ours in ready:
                    part = _read(ours)
                    if not part:
                        break
                    held += part
                    self.screen = held.decode(errors="ignore")
                if asked in ready and os.read(asked, 1):
                    # A line that was begun before this pass may be drawn still, but not two.
                    waiting = len(DRAWN.findall(self.screen)) + 1
                lines = DRAWN.findall(self.screen)
                if waiting and len(lines) > waiting:
                    waiting = 0
                    self.at_passes.append(lines[-1])
                    # What comes after a mend that is tried is more of these.
                    os.write(released, b"!" * (1000 if "mends" in lines[-1] else 1))
        finally:
            for each in (ours, asked, released):
                os.close(each)
        assert process.stdout is not None
        self.answer = process.stdout.read().decode()
        process.stdout.close()
        self.code = process.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # So a terminal ends that nobody writes to any more.
        return b""


def test_a_terminal_shows_what_is_done_and_is_left_clean(nets: Path) -> None:
    seen = Watched(nets)
    assert seen.code == 0, seen.screen
    shown = list(dict.fromkeys(seen.at_passes))
    rates = ("0.333333", "1", "3")
    assert shown[:7] == [
        "diagnosing: looking at one pass, forward and back",
        *(f"diagnosing: training at lr {lr}, step {step} of 2" for lr in rates for step in (1, 2)),
    ]
    assert shown[7] == "diagnosing: trying what mends update-too-large"
    before = [each for each in dict.fromkeys(DRAWN.findall(seen.screen)) if "diagnosing" not in each]
    assert before == ["building the model", "planning", "initializing"]
    # What other people's code prints stands on the terminal, and is no part of the answer.
    assert "printed by the model's code" in seen.screen and "printed by" not in seen.answer
    # The last thing that is done: the line is wiped, and the cursor is seen again.
    assert seen.screen.endswith("\x1b[2K") and seen.screen.rindex("\x1b[?25h") > seen.screen.rindex(
        "\x1b[?25l"
    )
    assert not CONTROL.search(seen.answer) and "diagnosing" not in seen.answer
    assert "update-too-large" in seen.answer


def test_nothing_of_it_goes_into_a_pipe(nets: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "initcfg", *COMMAND],
        cwd=nets,
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stderr.splitlines()) == {"printed by the model's code"}
    assert not CONTROL.search(done.stdout) and "update-too-large" in done.stdout


def test_a_terminal_without_control_shows_none_of_it(nets: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "initcfg", *COMMAND],
        cwd=nets,
        env=_environment(TERM="dumb"),
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        parts = list(iter(lambda: _read(ours), b""))
        assert process.wait() == 0
    os.close(ours)
    lines = b"".join(parts).decode().split("\r\n")
    assert {each.strip() for each in lines} == {"printed by the model's code", ""}
