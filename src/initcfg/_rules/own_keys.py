"""``role``, ``scale`` and ``tune``: keys of a rule that every initializer goes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initcfg._rules.patterns import parse_roles
from initcfg._rules.rule import Rule
from initcfg._rules.scale import Expression, parse_scale
from initcfg._rules.types import accepts, takes
from initcfg.errors import ArgumentError, ArgumentValueError, PatternError, RuleTypeError, nearest

TUNED = ("lr", "weight_decay", "eps", "muon")
"""What of an optimizer ``tune`` multiplies; ``muon`` is the learning rate where Muon makes the steps."""
TUNED_FOR = ("adamw", "adam", "sgd")
"""The optimizers whose multipliers differ."""


def parse_own_keys(arguments: dict[str, Any]) -> dict[str, Any]:
    """``role``, ``scale`` and ``tune``, taken out of the arguments, where they are not the initializer's."""
    type_ = arguments.get("type")
    found: dict[str, Any] = {"roles": ()}
    if "role" in arguments and not accepts(type_, "role"):
        found["roles"] = parse_roles(arguments.pop("role"))
    for key in ("scale", "tune"):
        if arguments.get(key, "") is None and not takes(type_, key):
            # As with the other keys, None is what is not given.
            del arguments[key]
    written = arguments.get("scale")
    # A number for VarianceScaling is that of the variance, its own.
    own = accepts(type_, "scale") or (not isinstance(written, str) and takes(type_, "scale"))
    if "scale" in arguments and not own:
        found["scale"] = parse_scale("scale", arguments.pop("scale"))
    if "tune" in arguments and not accepts(type_, "tune"):
        found["tune"], found["optimizer"] = _parse_tune(arguments.pop("tune"))
    return found


def _parse_tune(written: Any) -> tuple[dict[str, Expression], str | None]:
    if not isinstance(written, Mapping):
        raise RuleTypeError(
            f"tune must be a dict of multipliers, not {written!r}.", fix="Write tune=dict(lr='1/width')."
        )
    optimizer = written.get("optimizer")
    if optimizer is not None and optimizer not in TUNED_FOR:
        raise ArgumentValueError(
            f"tune: optimizer is one of {', '.join(TUNED_FOR)}, not {optimizer!r}.",
            meant=nearest(str(optimizer), TUNED_FOR),
        )
    multipliers = {key: item for key, item in written.items() if key != "optimizer"}
    for key in multipliers:
        if key not in TUNED:
            raise ArgumentError(
                f"tune knows no {key!r}.",
                meant=nearest(str(key), TUNED),
                fix=f"It multiplies {', '.join(TUNED)}, and may name the optimizer.",
            )
    return {key: parse_scale(f"tune: {key}", item) for key, item in multipliers.items()}, optimizer


def check_own_keys(rule: Rule) -> None:
    """What ``role``, ``scale`` and ``tune`` cannot go with."""
    if rule.roles and rule.buffers:
        raise PatternError("Buffers have no roles: a rule has buffer or role, and not both.")
    if rule.foreign is not None and rule.roles:
        raise ArgumentError(
            f"{rule.type_name} initializes whole modules, and role selects tensors.",
            fix="Select by layer or name.",
        )
    for key, there in (("scale", rule.scale is not None), ("tune", rule.tunes)):
        alone = key == "tune" and not rule.type_name and rule.weight is None and rule.bias is None
        if there and rule.filler is None and not alone:
            what = f"{rule.type_name} writes tensors itself" if rule.type_name else "this rule has no type"
            raise ArgumentError(
                f"{key} is for what type fills, and {what}.",
                fix=f"Leave out {key}, or give a type of values.",
            )
