"""The pages of the site, made of those that a forge shows too: docs/, the README, and what they lead to.

In the site everything is a page: a link to a script leads to a page that shows it, and one to a folder to
what lies in it. So no page leads out of the site, and no address is needed.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from chinese import ROOT, english_anchor, english_page, with_english_anchors

_DOCS = "docs"
# Pages that lie outside of docs/.
_OUTSIDE = {
    "README.md": "readme.md",
    "README.zh-CN.md": "readme.zh.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "license.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/README.md": "examples.md",
}
_LANGUAGES_OF_FILES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".rs": "rust",
}
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\[[^\[\]]*)?(\]\()([^)\s]+)(\))")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
# On a forge, the first lines of a page lead to the same page in the other language; here the switch does.
_OTHER_LANGUAGE = re.compile(r"^\[(中文|English)\]\([^)]+\)\n+", re.MULTILINE)


@dataclass
class Pages:
    """The folder that the site is built from.

    Args:
        folder: Where the pages are written.
    """

    folder: Path
    _written: set[str] = field(default_factory=set)
    _waiting: list[str] = field(default_factory=list)

    def gather(self) -> None:
        """Write every page of docs/, the README, and whatever these lead to."""
        for path in sorted((ROOT / _DOCS).rglob("*")):
            place = path.relative_to(ROOT).as_posix()
            if path.suffix == ".md":
                self._waiting.append(place)
            elif path.is_file() and path.suffix != ".py":
                self._copy(path, page_of(place))
        self._waiting += ["README.md", "README.zh-CN.md", "CHANGELOG.md"]
        while self._waiting:
            place = self._waiting.pop()
            if page_of(place) not in self._written:
                self.write(page_of(place), self._text(place))

    def write(self, page: str, text: str) -> None:
        """Write one page."""
        self._written.add(page)
        target = self.folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _copy(self, path: Path, page: str) -> None:
        target = self.folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def _text(self, place: str) -> str:
        path = ROOT / place
        if path.is_dir():
            entries = "\n".join(f"- [{each}](./{each})" for each in _listed(path))
            return self._with_links(f"# {place}\n\n{entries}\n", f"{place}/README.md", page_of(place))
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            if page_of(place).endswith(".zh.md"):
                text = with_english_anchors(text, english_page(path).read_text(encoding="utf-8"))
            return self._with_links(_OTHER_LANGUAGE.sub("", text, count=1), place, page_of(place))
        language = _LANGUAGES_OF_FILES.get(path.suffix, "text")
        return f"# {place}\n\n````{language}\n{text.rstrip()}\n````\n"

    def _with_links(self, text: str, place: str, page: str) -> str:
        def changed(found: re.Match[str]) -> str:
            before, bracket, link, end = found[1] or "", *found.groups()[1:]
            link, mark, anchor = link.partition("#")
            if ":" in link or (not link and not place.endswith(".zh.md")):
                return found[0]
            if not link:
                return f"{before}{bracket}#{english_anchor(ROOT / place, anchor)}{end}"
            target = os.path.normpath(PurePosixPath(place).parent / link)
            if not target.startswith(f"{_DOCS}/"):
                self._waiting.append(target)
            if anchor and page_of(target).endswith(".zh.md"):
                anchor = english_anchor(ROOT / target, anchor)
            led = os.path.relpath(page_of(target), PurePosixPath(page).parent)
            # What a forge's reader sees as a file has a title here.
            if before == f"[{PurePosixPath(link).name}":
                before = f"[{_title(target, chinese=place.endswith(('.zh.md', '.zh-CN.md')))}"
            return f"{before}{bracket}{led}{mark}{anchor}{end}"

        parts = _FENCE.split(text)
        return "".join(
            part if part.startswith("```") else _LINK.sub(changed, part.replace("][", "]\\["))
            for part in parts
        )


def page_of(place: str) -> str:
    """The page that shows a file or a folder of the repository."""
    if place.startswith(f"{_DOCS}/"):
        return place.removeprefix(f"{_DOCS}/")
    if (ROOT / place / "README.md").exists():
        place = f"{place}/README.md"
    if place in _OUTSIDE:
        return _OUTSIDE[place]
    # What looks like an ending would be taken for a language.
    return f"files/{place.removesuffix('.md').replace('.', '-')}.md"


def _title(place: str, *, chinese: bool) -> str:
    page = ROOT / place
    other = page.with_name(page.name.replace(".md", ".zh.md"))
    found = _TITLE.search((other if chinese and other.exists() else page).read_text(encoding="utf-8"))
    return found[1] if found else page.name


def _listed(folder: Path) -> list[str]:
    return sorted(
        each.name for each in folder.iterdir() if each.is_file() and each.suffix in _LANGUAGES_OF_FILES
    )
