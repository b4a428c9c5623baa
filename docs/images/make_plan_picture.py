"""Make docs/images/plan.svg: what ``initcfg plan examples/retinanet/retinanet_r50_fpn.py`` prints.

Run it from anywhere: python docs/images/make_plan_picture.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from initcfg._api.command.jobs import planned
from initcfg._api.command.request import Request
from initcfg._plan.report.table import plan_view

ROOT = Path(__file__).parents[2]
CONFIG = "examples/retinanet/retinanet_r50_fpn.py"


def main() -> None:
    """Plan the model, and draw the table of the plan."""
    _, plan = planned(Request(str(ROOT / CONFIG), strict=True))
    console = Console(record=True, width=172, file=io.StringIO(), highlight=False)
    console.print(plan_view(plan))
    picture = console.export_svg(title=f"initcfg plan {CONFIG}", unique_id="plan")
    # No fonts from elsewhere: the picture is one file.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (ROOT / "docs" / "images" / "plan.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
