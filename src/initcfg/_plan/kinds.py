"""Which values a plan has: nearly all plans have few that differ, and most questions are about others."""

from __future__ import annotations

from initcfg._plan.frozen import unnamed
from initcfg._plan.plan import Plan
from initcfg.values import Value

_ATTRIBUTE = "_kinds"
Distinct = tuple[Value, tuple[int, ...], str]
"""A value, with shape and type of a tensor that gets it."""


def distinct_values(plan: Plan) -> list[Distinct]:
    """The values of a plan, each once for all tensors of one shape and type.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> from initcfg._plan.kinds import distinct_values
        >>> model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3)))
        >>> distinct_values(initcfg.plan(model, dict(type="Constant", layer="Linear", val=1)))
        [(Constant(val=1.0), (2, 2), 'float32')]
    """
    return _known(plan)[0]


def has_kind(plan: Plan, kind: type[Value]) -> bool:
    """Whether some tensor gets a value of this class."""
    return any(issubclass(each, kind) for each in _known(plan)[1])


def _known(plan: Plan) -> tuple[list[Distinct], set[type[Value]]]:
    # Kept on the plan, which cannot change.
    known = plan.__dict__.get(_ATTRIBUTE)
    if known is None:
        items = (*unnamed(plan.parameters).values(), *unnamed(plan.buffers).values())
        # By identity: most plans have one object for those that are alike.
        objects = {id(item): item for item in items}.values()
        found = {(id(item.value), item.shape, item.dtype): item for item in objects}
        distinct = [(item.value, item.shape, item.dtype) for item in found.values()]
        known = plan.__dict__[_ATTRIBUTE] = distinct, {type(item.value) for item in found.values()}
    return known
