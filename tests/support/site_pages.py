"""The documentation's site, built and served, and what its pages link to."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-docs" / "bin" / "python"


class NoSite(Exception):
    """The site cannot be built, or was not."""


def built(folder: Path) -> Path:
    """The site, built into a folder in the environment that ``make docs`` makes."""
    if not PYTHON.exists():
        raise NoSite("The environment that builds the site is missing: run make docs.")
    done = subprocess.run(
        [PYTHON, ROOT / "tools" / "site" / "build.py", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoSite(done.stdout + done.stderr)
    return folder


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder, on this machine alone."""
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.anchors.update(found[key] for key in ("id", "name") if key in found)
        self.links += [found[key] for key in ("href", "src") if key in found]
        if tag != "a":
            self.loaded += [found[key] for key in ("href", "src") if key in found]


def broken_links(site: Path) -> list[str]:
    """The links within the site that lead nowhere, and what a page would load from elsewhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            elsewhere = re.match(r"[a-z]+:|//", link)
            if not elsewhere and not _leads(site, path, link, pages):
                broken.append(f"{path.relative_to(site)}: {link}")
            if elsewhere and link in page.loaded and not link.startswith("data:"):
                broken.append(f"{path.relative_to(site)} loads {link}")
    return broken


def _leads(site: Path, path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    place, _, anchor = link.partition("#")
    place = unquote(place.partition("?")[0])
    target = path
    if place:
        target = (site / place.lstrip("/") if place.startswith("/") else path.parent / place).resolve()
    if target.is_dir():
        target /= "index.html"
    return target.exists() and (target not in pages or unquote(anchor) in pages[target].anchors)
