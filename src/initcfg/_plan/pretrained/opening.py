"""The checkpoint that a Pretrained rule names."""

from __future__ import annotations

from initcfg._checkpoints import OpenedCheckpoint, open_source
from initcfg._rules.initializers import PretrainedInit


def open_pretrained(initializer: PretrainedInit) -> OpenedCheckpoint:
    """The checkpoint of a Pretrained rule."""
    return open_source(
        initializer.state(),
        sha256=initializer.sha256,
        offline=initializer.offline,
        part=initializer.part,
        name=initializer.label,
    )
