"""Small things that the tests of MMEngine's corners share."""

from __future__ import annotations

from typing import Any

from torch import nn


def bits(model: nn.Module) -> dict[str, bytes]:
    """Every tensor of the state, to the last bit."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in model.state_dict().items()}


def rule(**keys: Any) -> dict[str, Any]:
    """A rule that draws, and whatever else."""
    return dict(dict(type="Normal", std=0.5), **keys)
