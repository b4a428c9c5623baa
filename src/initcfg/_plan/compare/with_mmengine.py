"""Where our reach and the original's differ on a model, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from initcfg._plan.assignment import Assignment
from initcfg._plan.plan import Plan
from initcfg.errors import PlanError, as_annotated
from initcfg.values import Layout, Opaque, PaddingRow, Value


@dataclass(frozen=True)
class Difference:
    """One tensor on which two plans of a model differ.

    Attributes:
        name: Canonical name.
        here: What the first plan gives it.
        there: What the other gives it; None if that does not reach it.
        kind: ``"nested"``, ``"library"``, ``"bases"``, ``"fans"``, ``"tensor"``, ``"padding"`` or
            ``"unexplained"``.
        reason: The same as a sentence.
    """

    name: str
    here: Assignment | None
    there: Assignment | None
    kind: str
    reason: str


@as_annotated(PlanError)
def differences(plan: Plan, original: Plan) -> list[Difference]:
    """The tensors on which a plan differs from the plan under ``compat="mmengine"``, each with the reason.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> class Head(initcfg.BaseModule):
        ...     def __init__(self):
        ...         super().__init__(dict(type="Normal", std=0.01, layer="Conv2d"))
        ...         self.conv = nn.Conv2d(2, 2, 1)
        >>> class Model(initcfg.BaseModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.heads = nn.ModuleList([Head()])
        >>> model = Model()
        >>> ours, theirs = initcfg.plan(model), initcfg.plan(model, compat="mmengine")
        >>> print(initcfg.differences(ours, theirs)[0].reason)
        the init_cfg of heads.0 lies in a plain container, which MMEngine does not look into
    """
    return [
        Difference(name, here, there, *_reason(plan, original, here, there))
        for name, (here, there) in plan.diff(original).items()
    ]


def _reason(plan: Plan, original: Plan, here: Assignment | None, there: Assignment | None) -> tuple[str, str]:
    value, rule = _by_rule(here)
    for name, library in plan.libraries.items():
        called = f"model.{name}.init_weights"
        if there is not None and there.rule == called:
            return (
                "library",
                f"MMEngine calls {name}.init_weights(), which is left to {library}'s constructors here",
            )
    if here is None or rule is None:
        return "unexplained", "MMEngine writes it and this plan does not"
    for owner in _owners(rule):
        if owner in plan.nested:
            place = "a plain container, which MMEngine does not look into"
            return "nested", f"the init_cfg of {owner} lies in {place}"
    attribute = here.name.rpartition(".")[2]
    if attribute not in ("weight", "bias"):
        return "tensor", f"MMEngine sets weight and bias, and does not know {attribute}"
    if rule == _by_rule(there)[1]:
        return _same_rule(value, here.layout)
    if rule in original.rules:
        cfg = original.rules[rule].cfg
        return "bases", f"a class named in {cfg} is a base further up than MMEngine looks"
    return "unexplained", "MMEngine does not run this rule"


def _by_rule(assignment: Assignment | None) -> tuple[Value | None, str | None]:
    """Value and rule; of a tensor that code may write, those of what it holds before."""
    if assignment is None:
        return None, None
    value, rule = assignment.value, assignment.rule
    if not isinstance(value, Opaque):
        return value, rule
    while isinstance(value, Opaque):
        value = value.over
    return value, next((each.rule for each in reversed(assignment.shadowed) if each.value == value), None)


def _same_rule(value: Value | None, layout: Layout | None) -> tuple[str, str]:
    if isinstance(value, PaddingRow):
        return "padding", f"the padding row {value.index} stays zero, and MMEngine overwrites it"
    if layout is not None and layout.transposed:
        return "fans", "a transposed convolution stores (in, out), which MMEngine reads the other way round"
    if layout is not None and layout.groups > 1:
        reason = f"its {layout.groups} groups each feed their own outputs, and MMEngine counts all of them"
        return "fans", reason
    return "unexplained", "the same rule gives another value"


def _owners(rule: str) -> Iterator[str]:
    """The module that owns a rule, and those above it."""
    owner = rule.rpartition(".init_cfg")[0].removeprefix("model").lstrip(".")
    while owner:
        yield owner
        owner = owner.rpartition(".")[0]
