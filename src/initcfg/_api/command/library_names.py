"""Names of libraries' models, read in their sources: to import a library takes a shell's user seconds."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

# Where a library has its models, and how they are named there.
_PLACES = {
    "timm": (
        "models",
        re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE),
    ),
    "torchvision": (
        "models",
        re.compile(
            r'^@register_model\((?:name="(\w+)")?\)\n(?:(?!def |class ).*\n)*?def (\w+)\(', re.MULTILINE
        ),
    ),
    "hf": ("models/auto", re.compile(r'"([a-z][\w.-]*)"(?:, |: )"\w+Config"')),
}
_PACKAGES = {"hf": "transformers"}


def library_names(library: str) -> Iterator[str]:
    """The names that may follow ``timm:``, ``torchvision:`` or ``hf:``, of what is installed; in order."""
    folder, pattern = _PLACES[library]
    spec = importlib.util.find_spec(_PACKAGES.get(library, library))
    found: set[str] = set()
    for start in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in Path(start, folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8", errors="replace")
            for match in pattern.finditer(text):
                found.add(next(each for each in match.groups() if each))
    yield from sorted(found)


def begun_names(incomplete: str) -> list[str]:
    """Builders of which somebody has written the library, and perhaps the beginning of a name."""
    library, colon, begun = incomplete.partition(":")
    if not colon or library not in _PLACES or os.sep in begun:
        return []
    try:
        return [f"{library}:{name}" for name in library_names(library) if name.startswith(begun)]
    except (OSError, ImportError, ValueError):
        # A completion that fails says nothing.
        return []
