"""Small helpers for messages."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


def nearest(name: str, candidates: Iterable[str], count: int = 4) -> list[str]:
    """The candidates most like ``name``, best first; letter case counts little."""
    by_lower: dict[str, list[str]] = {}
    name = str(name)
    for candidate in candidates:
        by_lower.setdefault(candidate.lower(), []).append(candidate)
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=count, cutoff=0.6)
    found = [original for lower in close for original in sorted(set(by_lower[lower]))]
    return found[:count]


def mistaken(key: str, written: Collection[object]) -> str:
    """The key that was perhaps written in place of ``key``, as words: ``", but a 'typ'"``; or nothing.

    In place of ``type`` that may also be Hydra's ``_target_``.

    Example:
        >>> from initcfg.errors.words import mistaken
        >>> mistaken("type", ["typ", "depth"]), mistaken("type", ["depth"])
        (", but a 'typ'", '')
    """
    if key == "type" and "_target_" in written:
        return ", but a '_target_'"
    near = nearest(key, [each for each in written if isinstance(each, str) and each != key], 1)
    return f", but a {near[0]!r}" if near else ""


def plural(count: int, noun: str) -> str:
    """``1 rule``, ``2 rules``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_bytes(count: int) -> str:
    """A number of bytes for a person.

    Example:
        >>> from initcfg.errors.words import in_bytes
        >>> in_bytes(512), in_bytes(2_400_000)
        ('512 B', '2.4 MB')
    """
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size >= 1000:
            size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:,.1f} {unit}"
