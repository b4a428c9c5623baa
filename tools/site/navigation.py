"""The navigation: the sections of docs/index.md, which a test holds complete, and the pages of the API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pages import ROOT, page_of

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\)", re.MULTILINE)
_API = ("API reference", "API 参考（英文）")


def navigation(folder: Path, api: list[str]) -> list[dict[str, Any]]:
    """What mkdocs calls nav: sections with their pages. Pages in docs/NAME/ stand below docs/NAME.md."""
    sections: list[dict[str, Any]] = []
    for title, text in _sections("index.md"):
        entries: list[Any] = []
        for name, link in _entries(text):
            page = page_of((ROOT / "docs" / link).resolve().relative_to(ROOT).as_posix())
            below = sorted((folder / page.removesuffix(".md")).glob("*.md"))
            inner = [each.relative_to(folder).as_posix() for each in below if ".zh." not in each.name]
            entries.append({name: [page, *inner] if inner else page})
        sections.append({title: entries})
    next(iter(sections[0].values())).insert(0, "index.md")
    last = sections.pop()
    return [*sections, {_API[0]: api}, last]


def translations() -> dict[str, str]:
    """The Chinese names of sections and pages, as docs/index.zh.md has them."""
    chinese: dict[str, str] = {}
    for title, text in _sections("index.zh.md"):
        entries = _entries(text)
        chinese |= {_page(link): name for name, link in entries} | {f"section {_page(entries[0][1])}": title}
    found = dict([_API])
    for title, text in _sections("index.md"):
        entries = _entries(text)
        found |= {name: chinese.get(_page(link), name) for name, link in entries}
        found[title] = chinese.get(f"section {_page(entries[0][1])}", title)
    return found


def _entries(text: str) -> list[tuple[str, str]]:
    # Names in the navigation are plain text.
    return [(name.replace("`", ""), link) for name, link in _ENTRY.findall(text)]


def _page(link: str) -> str:
    return link.removeprefix("../").partition(".")[0]


def _sections(name: str) -> list[tuple[str, str]]:
    parts = _SECTION.split((ROOT / "docs" / name).read_text(encoding="utf-8"))
    return [
        (title, text) for title, text in zip(parts[1::2], parts[2::2], strict=True) if _ENTRY.search(text)
    ]
