"""Write the table of checks into ``docs/diagnose.md`` and its Chinese page, from the code's own tables.

    python tools/diagnose.py

Above the marker stands what a person wrote. A test holds the page current.
"""

from __future__ import annotations

from pathlib import Path

from initcfg._diagnose.checks.codes import CHECKS, Check
from initcfg._diagnose.report.wording import CODES

PAGE = Path(__file__).parents[1] / "docs" / "diagnose.md"
CHINESE = PAGE.with_name("diagnose.zh.md")
MARKER = "<!-- Made by tools/diagnose.py from the table of checks. -->"


_HEADS = {
    "en": "| code | level | number | threshold | healthy | what it leads to | remedy |",
    "zh": "| 代码 | 级别 | 数字 | 界限 | 健康 | 会怎样 | 如何修正 |",
}


def page(text: str, lang: str = "en") -> str:
    """The page, with its table as it is now."""
    lines = [_HEADS[lang], "|---|---|---|---|---|---|---|"]
    lines += [_row(code, check, lang) for code, check in CHECKS.items()]
    return f"{text.partition(MARKER)[0]}{MARKER}\n\n" + "\n".join(lines) + "\n"


def _row(code: str, check: Check, lang: str) -> str:
    threshold = {"en": "any", "zh": "任意"}[lang] if check.threshold is None else f"{check.threshold:g}"
    healthy = "" if check.healthy is None else f"{check.healthy[0]:g} … {check.healthy[1]:g}"
    without = {"en": ", info without `--lr`", "zh": "；没有 `--lr` 时为 info"}[lang]
    level = check.level + without if check.of_lr else check.level
    said = CODES[code]
    texts = (check.measures, check.why, check.fix) if lang == "en" else (said.number[1], said.why, said.fix)
    cells = (f"`{code}`", level, texts[0], threshold, healthy, *texts[1:])
    return f"| {' | '.join(each.replace('|', '∣') for each in cells)} |"


if __name__ == "__main__":
    for path, lang in ((PAGE, "en"), (CHINESE, "zh")):
        path.write_text(page(path.read_text(encoding="utf-8"), lang), encoding="utf-8")
