"""Texts that no file can be called by, found before anything is asked of the system."""

from __future__ import annotations

import os

# What file systems take: bytes of a name, and of a path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095


def path_problem(path: str, *, of_file: bool = True) -> str | None:
    """Why a text is not the path of a file; None if it may be one.

    With ``of_file=False`` it may be an address or a builder too, which have any length.

    Example:
        >>> from initcfg.errors import path_problem
        >>> path_problem("weights.pth"), path_problem(""), path_problem("a" * 300)
        (None, 'it is empty', 'a name in it has 300 bytes, and file systems take 255')
    """
    if not path:
        return "it is empty"
    if "\0" in path:
        return "it holds the character NUL"
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:
        return "it holds a character that no file system takes"
    if not of_file:
        return None
    longest = max(map(len, data.split(b"/")))
    if longest > _LONGEST_NAME:
        return f"a name in it has {longest:,} bytes, and file systems take {_LONGEST_NAME}"
    return (
        f"it has {len(data):,} bytes, and systems take {_LONGEST_PATH:,}"
        if len(data) > _LONGEST_PATH
        else None
    )
