"""What a text of a file, a server or a config looks like to a person: itself, and never an instruction.

A terminal obeys control characters, and a reader is misled by what has no width or turns a line around.
"""

from __future__ import annotations

import re

# Characters that draw nothing and that Unicode does not count as controls: fillers, joiners, selectors.
_IGNORED = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
# Nearly all texts, told apart at once.
_PLAIN = re.compile(r"[ -~]*\Z")
_UNSEEN = re.compile(f"[{_IGNORED}]")
# What is a space of some width.
_SPACES = "\u00a0\u3000"


def shown(text: object) -> str:
    r"""A text on one line, with every character that is not seen written out, as ``\x1b`` or ``\u202e``.

    These are control characters (C0, C1, DEL), line and paragraph separators, what changes the direction of
    writing, what has no width, lone surrogates, and what Unicode has not assigned.

    Example:
        >>> from initcfg.errors import shown
        >>> print(shown("layer\x1b[2J.weight\nall fine"))
        layer\x1b[2J.weight\nall fine
    """
    text = text if type(text) is str else str(text)
    if _PLAIN.match(text):
        return text
    return "".join(each if _is_seen(each) else _written_out(each) for each in text)


def shown_lines(text: object, start: str = "") -> str:
    """The same for a text that has lines: they stay, and each after the first begins with ``start``."""
    return f"\n{start}".join(map(shown, str(text).split("\n")))


def _is_seen(character: str) -> bool:
    return (character.isprintable() or character in _SPACES) and not _UNSEEN.match(character)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode() if character < "\u0100" else _by_number(character)


def _by_number(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
