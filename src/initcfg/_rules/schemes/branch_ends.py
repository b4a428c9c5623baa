"""The ends of residual branches: what beside their last weights a factor of the branch is folded into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initcfg._model import Roles, find_roles
from initcfg._rules.schemes.norm_gains import gain_offset
from initcfg.errors import InitcfgError, PlanError


@dataclass(frozen=True)
class Ends:
    """The vectors that end residual branches.

    Attributes:
        biases: Of the layers that end a branch, or of the norms that do.
        norms: Weights of norms that end a branch, after its last layer, and what these add to them.
    """

    biases: tuple[str, ...] = ()
    norms: Mapping[str, float] = field(default_factory=dict)


def ends_of(owner: nn.Module, example: Any, declared: Any) -> Ends:
    """The ends of the branches of a model; none where its roles are not known.

    Raises:
        PlanError: Norms end some branches and not others, or nobody knows what one multiplies by.
    """
    try:
        roles = find_roles(owner, example=example, declared=declared)
    except InitcfgError:
        # Rules by role say so themselves.
        return Ends()
    there = {name for name, _ in owner.named_parameters()}

    def biases(names: Iterable[str]) -> tuple[str, ...]:
        own = (f"{name.removesuffix('weight')}bias" for name in names if name.endswith("weight"))
        return tuple(name for name in own if name in there)

    norms = _norms(roles)
    if not norms:
        return Ends(biases(_with(roles, "residual_out")))
    return Ends(biases(norms), {name: _offset(owner, name) for name in norms})


def _with(roles: Roles, role: str) -> list[str]:
    return [name for name, each in roles.tensors.items() if role in each.roles]


def _norms(roles: Roles) -> list[str]:
    """The weights of norms that end branches, if all branches end so."""
    norms = [name for name in _with(roles, "residual_norm") if not name.endswith("bias")]
    if norms and roles.residuals is not None and len(norms) != roles.residuals:
        raise PlanError(
            f"Of {roles.residuals} residual branches, {len(norms)} end with a norm, which undoes what scales "
            "the weight before it.",
            fix="End all branches so, or none; or say it yourself: roles=dict(residual_norm=[...]).",
        )
    return norms


def _offset(owner: nn.Module, name: str) -> float:
    path, _, weight = name.rpartition(".")
    found = gain_offset(owner.get_submodule(path), weight)
    if found is None:
        raise PlanError(
            "A residual branch ends with this norm, and whether it multiplies by its weight w, or by 1 + w, "
            "is not known.",
            parameter=name,
            fix="Let the norm take a tensor alone, or be one of torch's.",
        )
    return found
