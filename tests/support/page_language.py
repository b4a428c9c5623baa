"""What a person reads or hears of a page in English."""

from __future__ import annotations

import re

from html_check import read_page

# Three words one after the other are English, or one of those that no name is made of.
_ENGLISH = re.compile(
    r"\b[a-z]+(?:'s)?,? [a-z]+,? [a-z]+\b|\b(?:the|of|is|are|has|its|and|not|given|something|then|by)\b",
    re.IGNORECASE,
)


def english_on(page: str) -> list[str]:
    """The texts of a page that are English, but for code; and its elements that say that they are."""
    read = read_page(page)
    assert not read.faults
    spoken = [each for each in read.said if _ENGLISH.search(each)]
    marked = [name for name, attributes in read.elements if attributes.get("lang") == "en"]
    return [*spoken, *marked]
