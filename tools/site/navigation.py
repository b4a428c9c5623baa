"""The navigation: the sections of docs/index.md, which a test holds complete, and the pages of the API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pages import ROOT, page_of

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[[^\]]+\]\(([^)#]+)\)", re.MULTILINE)
_API = ("API reference", "API 参考（英文）")
_README = ("Five minutes", "五分钟上手")


def navigation(folder: Path, api: list[str]) -> list[dict[str, list[Any]]]:
    """What mkdocs calls nav: sections with their pages. Pages in docs/NAME/ stand below docs/NAME.md."""
    sections: list[dict[str, list[Any]]] = []
    for title, text in _sections("index.md"):
        entries: list[Any] = []
        for link in _ENTRY.findall(text):
            page = page_of((ROOT / "docs" / link).resolve().relative_to(ROOT).as_posix())
            below = folder / page.removesuffix(".md")
            entries.append(page)
            if below.is_dir():
                entries += sorted(
                    f"{below.name}/{each.name}" for each in below.glob("*.md") if ".zh." not in each.name
                )
        if entries:
            sections.append({title: entries})
    first = next(iter(sections[0].values()))
    first.remove("readme.md")
    first[:0] = ["index.md", {_README[0]: "readme.md"}]
    last = sections.pop()
    return [*sections, {_API[0]: api}, last]


def translations() -> dict[str, str]:
    """The names of sections in Chinese: those of docs/index.zh.md that begin with the same page."""
    chinese = {_first(text): title for title, text in _sections("index.zh.md")}
    same = ((title, chinese.get(_first(text), title)) for title, text in _sections("index.md"))
    return dict([*same, _API, _README])


def _first(text: str) -> str:
    return _ENTRY.findall(text)[0].removeprefix("../").partition(".")[0]


def _sections(name: str) -> list[tuple[str, str]]:
    parts = _SECTION.split((ROOT / "docs" / name).read_text(encoding="utf-8"))
    return list(zip(parts[1::2], parts[2::2], strict=True))
