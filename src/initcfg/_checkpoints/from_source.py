"""From what a rule calls a checkpoint to an opened one: where it is, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initcfg._checkpoints.formats import OpenedCheckpoint, open_mapping, open_path
from initcfg._checkpoints.sources import locate
from initcfg.errors import CheckpointError


def open_source(
    source: Any,
    *,
    sha256: str | None = None,
    offline: bool | None = None,
    part: str | None = None,
    name: str | None = None,
) -> OpenedCheckpoint:
    """Open a checkpoint: a path, an address, or a state_dict.

    Args:
        source: What to open.
        sha256: Digest that the file must have.
        offline: Whether nothing may be fetched.
        part: Which of several sets of weights in the file.
        name: How messages call it; the source itself if None.
    """
    if not isinstance(source, (str, Mapping)):
        raise CheckpointError(
            f"{name or 'The function'} gave a {type(source).__name__}, not a state_dict.",
            fix="Return a dict from names to tensors, or the path of a checkpoint.",
        )
    located = locate(source, sha256=sha256, offline=offline)
    name = name or located.origin
    if located.path is None:
        opened = open_mapping(located.memory or {}, name=name, part=part)
    else:
        opened = open_path(located.path, name=name, part=part)
    opened.sha256, opened.prefix = located.sha256, located.prefix
    return opened
