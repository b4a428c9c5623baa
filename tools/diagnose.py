"""Write the table of checks into ``docs/diagnose.md``, from the code's own table.

    python tools/diagnose.py

Above the marker stands what a person wrote. A test holds the page current.
"""

from __future__ import annotations

from pathlib import Path

from initcfg._diagnose.checks.codes import CHECKS, Check

PAGE = Path(__file__).parents[1] / "docs" / "diagnose.md"
MARKER = "<!-- Made by tools/diagnose.py from the table of checks. -->"


def page(text: str) -> str:
    """The page, with its table as it is now."""
    lines = [
        "| code | level | number | threshold | healthy | what it leads to | remedy |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(code, check) for code, check in CHECKS.items()]
    return f"{text.partition(MARKER)[0]}{MARKER}\n\n" + "\n".join(lines) + "\n"


def _row(code: str, check: Check) -> str:
    threshold = "any" if check.threshold is None else f"{check.threshold:g}"
    healthy = "" if check.healthy is None else f"{check.healthy[0]:g} … {check.healthy[1]:g}"
    level = f"{check.level}, info without `--lr`" if check.of_lr else check.level
    cells = (f"`{code}`", level, check.measures, threshold, healthy, check.why, check.fix)
    return f"| {' | '.join(each.replace('|', '∣') for each in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
