"""Checkpoints: opened safely, read lazily. ``reader`` is what the rest of the package sees of any of them."""

from initcfg._checkpoints.formats.distributed import METADATA
from initcfg._checkpoints.formats.finite import non_finite
from initcfg._checkpoints.formats.folders import UNFINISHED
from initcfg._checkpoints.formats.opening import OpenedCheckpoint, open_mapping, open_path
from initcfg._checkpoints.formats.reader import Reader, TensorInfo

__all__ = [
    "METADATA",
    "OpenedCheckpoint",
    "Reader",
    "TensorInfo",
    "UNFINISHED",
    "non_finite",
    "open_mapping",
    "open_path",
]
