"""The table of checks is the code's own."""

from __future__ import annotations

from test_catalogue import tool


def test_the_page_is_current() -> None:
    made = tool("diagnose")
    for path, lang in ((made.PAGE, "en"), (made.CHINESE, "zh")):
        text = path.read_text(encoding="utf-8")
        assert text == made.page(text, lang), "run python tools/diagnose.py"
        assert text.count("| `initial-loss` |") == 1
