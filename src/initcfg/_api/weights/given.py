"""What people give as a checkpoint: a path, an address, a state_dict, a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from initcfg.errors import CheckpointError, in_words

Checkpoint = str | Path | Mapping[str, Any] | nn.Module


def source_of(given: Any) -> str | Mapping[str, Any]:
    """What is opened."""
    if isinstance(given, nn.Module):
        return given.state_dict()
    if isinstance(given, Path):
        return str(given)
    if not isinstance(given, (str, Mapping)):
        raise CheckpointError(
            f"A checkpoint was to be given, and {in_words(given)} is none.",
            fix="Give a path, an address, a state_dict or a model.",
        )
    return given


def name_of(given: Any) -> str:
    """How messages call it."""
    if isinstance(given, (str, Path)):
        return str(given)
    return "the model" if isinstance(given, nn.Module) else "the state_dict"
