"""Python's collector around a command: paused, on again for the work, and at the end in nobody's way."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, gc, runpy, sys

class Left:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("collected")

def say():
    # The last of all, as it was the first to be registered.
    print("enabled" if gc.isenabled() else "disabled", "frozen" if gc.get_freeze_count() else "thawed")

atexit.register(say)
from initcfg._api.command import collector
collector.pause_until_work()
assert not gc.isenabled()
collector.work_begins()
assert gc.isenabled() and gc.get_freeze_count()
collector.work_begins()
made = Left()
del made
{more}
"""

BOUND = """
class nb_type_0(type):
    __module__ = "nanobind"
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [("", ["enabled frozen"]), (BOUND, ["enabled thawed", "collected"])],
    ids=["usually", "beside nanobind"],
)
def test_what_is_left_at_the_end(more: str, said: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(more=more)], capture_output=True, text=True, check=True
    )
    assert (done.stdout.split("\n")[:-1], done.stderr) == (said, "")


def test_a_collector_that_was_off_stays_off() -> None:
    program = "import gc; gc.disable()\n" + PROGRAM.format(more="").replace(
        "assert gc.isenabled() and gc.get_freeze_count()", "assert not gc.isenabled()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "disabled frozen\n"
