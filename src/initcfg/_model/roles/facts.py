"""What is known of the roles of a model's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ROLE_NAMES = (
    "embedding",
    "position",
    "attn_qkv",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_out",
    "mlp_in",
    "mlp_gate",
    "mlp_out",
    "conv_in",
    "residual_out",
    "residual_norm",
    "shortcut",
    "gate",
    "norm",
    "head",
    "stem",
    "router",
    "expert_in",
    "expert_gate",
    "expert_out",
)
"""The words for what tensors do."""


@dataclass(frozen=True)
class TensorRole:
    """What one tensor does.

    Attributes:
        roles: All that it has: ``("attn_out", "residual_out")``.
        how: ``"declared"`` by a person, ``"seen"`` in the graph of a forward pass, or ``"guessed"`` from
            names.
        layer: Index of its block, from 0; None if it is in none.
        heads: Of a projection of attention: the number of heads, where known.
    """

    roles: tuple[str, ...]
    how: Literal["declared", "seen", "guessed"]
    layer: int | None = None
    heads: int | None = None


@dataclass(frozen=True)
class Roles:
    """What the tensors of a model do.

    Attributes:
        tensors: By canonical name of a parameter.
        layers: Number of blocks.
        residuals: Number of residual adds.
        width: Of the residual stream.
        notes: Remarks on how they were found.
    """

    tensors: Mapping[str, TensorRole]
    layers: int | None = None
    residuals: int | None = None
    width: int | None = None
    notes: tuple[str, ...] = ()
