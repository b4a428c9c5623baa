"""Checkpoints: opened safely, read lazily. ``reader`` is what the rest of the package sees of any of them."""

from initcfg._checkpoints.formats.finite import non_finite
from initcfg._checkpoints.formats.opening import OpenedCheckpoint, open_mapping, open_path

__all__ = ["OpenedCheckpoint", "non_finite", "open_mapping", "open_path"]
