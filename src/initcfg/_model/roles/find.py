"""From a model to its roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._model.roles.declared import declared_roles
from initcfg._model.roles.facts import Roles
from initcfg.errors import RoleError


def find_roles(model: nn.Module, *, example: Any = None, declared: Any = None) -> Roles:
    """The roles of a model's tensors: as declared, else seen in its graph, else guessed from names.

    Args:
        example: Its input, where the model's library has none of its own.
        declared: What a person says of them: a dict of globs.

    Raises:
        RoleError: What is declared is wrong.
    """
    if isinstance(declared, Mapping):
        return declared_roles(model, declared)
    if declared not in (None, "names"):
        raise RoleError(
            f"roles must be a dict or 'names', not {declared!r}.",
            fix='Write roles=dict(residual_out=["*.c_proj.weight"], blocks="transformer.h").',
        )
    return Roles({})
