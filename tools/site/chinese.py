"""What the Chinese pages have from the English ones: code blocks, and anchors.

    python tools/site/chinese.py

gives each Chinese page the blocks of its English page, in their order, and lets links lead to Chinese pages
where there are some. An empty block is one that is to be filled. A test holds that both pages show the same.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md", ROOT / "README.zh-CN.md")
FENCE = re.compile(r"^((?:<!-- needs mmengine -->\n)?```.*?^```$)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#+ )(.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\((?:([^)\s#]+)\.md)?(#[^)\s]+)?\)")


def slug(heading: str, separator: str = "-") -> str:
    """The anchor that a forge makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def anchors(text: str) -> list[str]:
    """Those of a page's headings."""
    return [slug(heading) for _, heading in _HEADING.findall(FENCE.sub("", text))]


def english_page(chinese: Path) -> Path:
    """The page that a Chinese one says in Chinese."""
    return README[0] if chinese == README[1] else chinese.with_name(chinese.name.replace(".zh.md", ".md"))


def with_english_anchors(chinese: str, english: str) -> str:
    """The headings of a Chinese page with the anchors of the English ones, so that links fit both."""
    left = iter(anchors(english))
    parts = FENCE.split(chinese)
    for place in range(0, len(parts), 2):
        parts[place] = _HEADING.sub(lambda found: f"{found[0]} {{ #{next(left)} }}", parts[place])
    return "".join(parts)


def english_anchor(page: Path, anchor: str) -> str:
    """What an anchor of a Chinese page is in the English one."""
    found = anchors(page.read_text(encoding="utf-8"))
    return anchors(english_page(page).read_text(encoding="utf-8"))[found.index(anchor)]


def filled(page: Path) -> str:
    """The text of a Chinese page with the blocks of the English one, and links to Chinese pages."""
    chinese = page.read_text(encoding="utf-8")
    blocks = FENCE.findall(english_page(page).read_text(encoding="utf-8"))
    if len(blocks) != len(FENCE.findall(chinese)):
        sys.exit(f"{page.relative_to(ROOT)} has not as many blocks as {english_page(page).name}.")

    def led(found: re.Match[str]) -> str:
        other = page.parent / f"{found[1]}.zh.md" if found[1] else page
        to_english = found[1] and other == page
        if (found[1] or "").endswith(".zh") or not other.exists() or to_english:
            return found[0]
        anchor = found[2] or ""
        if anchor:
            places = anchors(english_page(other).read_text(encoding="utf-8"))
            there = anchors(other.read_text(encoding="utf-8"))
            if anchor[1:] in places:
                anchor = "#" + there[places.index(anchor[1:])]
        return f"]({f'{found[1]}.zh.md' if found[1] else ''}{anchor})"

    left = iter(blocks)
    parts = FENCE.split(chinese)
    return "".join(next(left) if place % 2 else _LINK.sub(led, part) for place, part in enumerate(parts))


def main() -> None:
    """Fill all of them."""
    for page in [README[1], *sorted((ROOT / "docs").rglob("*.zh.md"))]:
        page.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
