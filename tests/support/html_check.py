"""Reads a page as a browser would, far enough to say what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_EMPTY = {"meta", "input", "br", "col", "wbr"}
_CODE = {"code", "pre", "script", "style"}
_HEARD = ("aria-label", "placeholder", "data-label", "data-said", "title", "alt")


@dataclass
class Read:
    """What a page holds: its texts, its elements with their attributes, and faults.

    What is ``said`` are texts that a person reads or hears, but for code.
    """

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == name]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.read = Read()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.read.elements.append((tag, attributes))
        self.read.said += [attributes[key] or "" for key in _HEARD if key in attributes]
        for key, item in attrs:
            if key.startswith("on") or key == "style":
                self.read.faults.append(f"{tag} has {key}")
            if key in ("src", "href", "xlink:href", "action") and not (item or "").startswith("#"):
                self.read.faults.append(f"{tag} leads to {item}")
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.read.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.read.texts.append(data)
        if not _CODE.intersection(self.open):
            self.read.said.append(data)


def read_page(text: str) -> Read:
    """What is in a page or a fragment. Faults: what is not closed, what could run, what leads elsewhere."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.read.faults += [f"<{tag}> stays open" for tag in reader.open]
    identities = [attributes["id"] for _, attributes in reader.read.elements if "id" in attributes]
    reader.read.faults += sorted({f"two of {each}" for each in identities if identities.count(each) > 1})
    known = set(identities)
    for name, attributes in reader.read.elements:
        for key in ("for", "href", "aria-labelledby", "data-search"):
            led = (attributes.get(key) or "").removeprefix("#")
            if led and led not in known:
                reader.read.faults.append(f"{name} {key} leads to {led}, which is not there")
    return reader.read
