"""Pages of the API, from docstrings: one for each section of docs/reference.md, held complete by a test."""

from __future__ import annotations

import re

from pages import Pages

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_NAME = re.compile(r"^\| `(initcfg[\w.]+)` \|", re.MULTILINE)


def write_api(pages: Pages) -> list[str]:
    """Write them, and let the reference lead to them. Returns their places, in order."""
    reference = pages.folder / "reference.md"
    text = reference.read_text(encoding="utf-8")
    parts = _SECTION.split(text)
    written = []
    for title, rows in zip(parts[1::2], parts[2::2], strict=True):
        words = re.sub(r"[^a-z]+", "-", title.lower().split("`")[0]).strip("-")
        written.append(f"api/{words}.md")
        entries = "\n\n".join(f"::: {name}" for name in _NAME.findall(rows))
        pages.write(written[-1], f"# {title}\n\n{entries}\n")
    reference.write_text(_NAME.sub(r"| [`\1`][\1] |", text), encoding="utf-8")
    return written
