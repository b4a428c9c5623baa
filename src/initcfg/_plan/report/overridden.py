"""Rules that reach something, and leave nothing: later ones of their list write over all of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from initcfg.values import FromCheckpoint

if TYPE_CHECKING:
    from initcfg._plan.plan import Plan

_IN_LIST = re.compile(r"(.*)\[\d+\]\Z")


def overridden_rules(plan: Plan) -> dict[str, list[str]]:
    """Rules of a list all of whose writes later ones of the same list write over, each with these.

    A checkpoint is not among them: to load over what a rule fills is what it is for.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> from initcfg._plan.report.overridden import overridden_rules
        >>> rules = [dict(type="Normal", layer="Linear"), dict(type="Constant", layer="Linear", val=1)]
        >>> overridden_rules(initcfg.plan(nn.Linear(2, 2), rules))
        {'init_cfg[0]': ['init_cfg[1]']}
    """
    found: dict[str, dict[str, None] | None] = {}
    for item in (*plan.parameters.values(), *plan.buffers.values()):
        last = item.rule or ""
        for each in item.shadowed:
            same = _list_of(each.rule) == _list_of(last) is not None and each.rule != last
            over = found.setdefault(each.rule, {})
            if not same or each.tune or isinstance(item.value, FromCheckpoint):
                # What it says of the optimizer counts, whoever writes.
                found[each.rule] = None
            elif over is not None:
                over[last] = None
        found[last] = None
    return {rule: [*over] for rule, over in found.items() if over and rule in plan.rules}


def _list_of(rule: str) -> str | None:
    """The list that a rule stands in."""
    match = _IN_LIST.match(rule)
    return None if match is None else match[1]
