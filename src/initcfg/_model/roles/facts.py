"""What is known of the roles of a model's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
        layers: Number of blocks of its stack; None if it is in none.
        residuals: Number of residual adds of its stack.
        stack: Index of its stack.
        head_size: Of a projection of attention: the size of its heads, where seen.
    """

    roles: tuple[str, ...]
    how: Literal["declared", "seen", "guessed"]
    layer: int | None = None
    heads: int | None = None
    layers: int | None = None
    residuals: int | None = None
    stack: int | None = None
    head_size: int | None = None


@dataclass(frozen=True)
class Stack:
    """Blocks whose residual adds one stream goes through: a tower, an encoder, a decoder.

    Attributes:
        layers: Number of blocks.
        residuals: Number of residual adds.
    """

    layers: int | None = None
    residuals: int | None = None


@dataclass(frozen=True)
class Roles:
    """What the tensors of a model do.

    Attributes:
        tensors: By canonical name of a parameter.
        layers: Number of blocks, of all stacks.
        residuals: Number of residual adds, of all stacks.
        width: Of the residual stream.
        notes: Remarks on how they were found.
        stacks: The stacks, in the order in which they run.
    """

    tensors: Mapping[str, TensorRole]
    layers: int | None = None
    residuals: int | None = None
    width: int | None = None
    notes: tuple[str, ...] = ()
    stacks: tuple[Stack, ...] = ()

    def number(self, asked: Literal["layers", "residuals"], name: str) -> int | None:
        """Blocks or residual adds of the stack of a tensor; of the only stack, for what is in none."""
        role = self.tensors.get(name)
        found = None if role is None else getattr(role, asked)
        if found is None and len(self.stacks) <= 1:
            return getattr(self.stacks[0] if self.stacks else self, asked)
        return found


def in_stack(role: TensorRole, stacks: Sequence[Stack], stack: int | None) -> TensorRole:
    """The role of a tensor of this stack, if it is of one."""
    if stack is None:
        return role
    of = stacks[stack]
    return replace(role, layers=of.layers, residuals=of.residuals, stack=stack)
