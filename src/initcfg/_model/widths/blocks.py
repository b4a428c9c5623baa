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


def template(name: str) -> str:
    """A name without the numbers in it: the same for tensors that repeat."""
    return re.sub(r"\d+", "*", name)
