"""Which kinds of values a plan has: nearly all plans have few, and most questions are about the others."""

from __future__ import annotations

from initcfg._plan.frozen import unnamed
from initcfg._plan.plan import Plan
from initcfg.values import Value

_ATTRIBUTE = "_kinds"


def has_kind(plan: Plan, kind: type[Value]) -> bool:
    """Whether some tensor gets a value of this class.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> from initcfg._plan.kinds import has_kind
        >>> from initcfg.values import Keep
        >>> has_kind(initcfg.plan(nn.Linear(2, 1), dict(type="Constant", layer="Linear", val=1)), Keep)
        False
    """
    # Kept on the plan, which cannot change.
    known = plan.__dict__.get(_ATTRIBUTE)
    if known is None:
        items = (*unnamed(plan.parameters).values(), *unnamed(plan.buffers).values())
        known = plan.__dict__[_ATTRIBUTE] = {type(item.value) for item in items}
    return any(issubclass(each, kind) for each in known)
