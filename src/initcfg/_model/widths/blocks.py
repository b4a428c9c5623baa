"""Blocks: which part of a repeated stack a parameter's name belongs to.

A block is a member of a list (``layers.3``, ``encoder_layer_3``) that has modules of its own: a bare layer
in an ``nn.Sequential`` is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"(.*?)(\d+)")


def block_of(name: str) -> tuple[str, int] | None:
    """The list and the index of the block that a parameter's name lies in; None if it lies in none.

    Example:
        >>> from initcfg._model.widths.blocks import block_of
        >>> [block_of(name) for name in ("layers.3.mlp.up.weight", "net.4.weight", "head.weight")]
        [('layers', 3), None, None]
    """
    parts = name.split(".")
    for place in range(len(parts) - 2):
        if parts[place].isdecimal():
            return ".".join(parts[:place]), int(parts[place])
    for place in range(len(parts) - 2):
        found = _NUMBERED.fullmatch(parts[place])
        if found is not None:
            return ".".join([*parts[:place], found[1]]), int(found[2])
    return None


def count_blocks(names: Iterable[str]) -> int:
    """Number of blocks that these parameters lie in."""
    return len({found for name in names if (found := block_of(name)) is not None})


def changed_lists(here: Iterable[str], base: Iterable[str]) -> frozenset[str]:
    """Lists with more elements in one of two builds, where no list of blocks is such: of single layers, say.

    Example:
        >>> from initcfg._model.widths.blocks import changed_lists
        >>> sorted(changed_lists(["hid.0.weight", "hid.1.weight", "out.weight"], ["hid.0.weight"]))
        ['hid']
    """
    here, base = list(here), list(base)
    if set(filter(None, map(block_of, here))) != set(filter(None, map(block_of, base))):
        return frozenset()
    return frozenset(of for of, _ in _elements(here) ^ _elements(base))


def element_of(name: str) -> tuple[str, int] | None:
    """The list and the index of the element that a parameter's name lies in, or that it is."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal():
            return ".".join(parts[:place]), int(part)
    for place, part in enumerate(parts[:-1]):
        found = _NUMBERED.fullmatch(part)
        if found is not None:
            return ".".join([*parts[:place], found[1]]), int(found[2])
    return None


def _elements(names: Iterable[str]) -> set[tuple[str, int]]:
    return {found for name in names if (found := element_of(name)) is not None}


def template(name: str) -> str:
    """A name without the numbers in it: the same for tensors that repeat."""
    return re.sub(r"\d+", "*", name)
