"""llms.txt: the pages as text, with a sentence each, for readers that are no people."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pages import ROOT

_SECTION = re.compile(r"^## ", re.MULTILINE)


def write_llms(folder: Path, site: Path) -> None:
    """Write llms.txt from the start page, and beside each page its text."""
    for path in sorted(folder.rglob("*.md")):
        target = site / path.relative_to(folder)
        if ".zh." not in path.name and target.parent.exists():
            shutil.copyfile(path, target)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    title, _, rest = readme.partition("\n\n")
    summary = next(line for line in rest.split("\n\n") if not line.startswith(("[", "!")))
    index = (folder / "index.md").read_text(encoding="utf-8")
    sections = "## " + "\n## ".join(part.strip() + "\n" for part in _SECTION.split(index)[1:])
    text = f"{title}\n\n> {' '.join(summary.split())}\n\n{sections}"
    (site / "llms.txt").write_text(text, encoding="utf-8")
