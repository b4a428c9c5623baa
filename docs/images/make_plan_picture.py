"""Make docs/images/plan.svg: what ``initcfg plan examples/retinanet/retinanet_r50_fpn.py`` prints.

Run it from anywhere: python docs/images/make_plan_picture.py
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
CONFIG = "examples/retinanet/retinanet_r50_fpn.py"
WIDTH = 172


class Terminal(io.StringIO):
    """What the command takes for a terminal with colors."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def main() -> None:
    """Run the command, and draw what it prints."""
    os.environ.update(TERM="xterm-256color", COLUMNS=str(WIDTH))
    sys.argv = ["initcfg", "plan", str(ROOT / CONFIG), "--strict"]
    with contextlib.redirect_stdout(Terminal()) as printed, contextlib.suppress(SystemExit):
        runpy.run_module("initcfg", run_name="__main__")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(Text.from_ansi(printed.getvalue().rstrip("\n")))
    picture = console.export_svg(title=f"initcfg plan {CONFIG}", unique_id="plan")
    # No fonts from elsewhere: the picture is one file.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (ROOT / "docs" / "images" / "plan.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
