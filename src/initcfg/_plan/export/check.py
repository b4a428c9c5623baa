"""Whether rules give what a plan says: they are planned for the model, by themselves."""

from __future__ import annotations

from typing import Any

from initcfg._plan.export.cells import View
from initcfg._plan.plan import Plan
from initcfg._plan.planner import make_plan
from initcfg._rules import Compiler


def planned(view: View, rules: list[dict[str, Any]]) -> Plan:
    """The plan of these rules and nothing else: no ``init_cfg`` of a module, and no constructor's default."""
    program = Compiler(view.model, compat=False, root_name="model").run_rules(rules)
    return make_plan(
        view.model,
        program,
        compat=False,
        strict=False,
        names=view.names,
    )


def differing(view: View, made: Plan) -> list[int]:
    """The tensors that would get something else than the plan says, or nothing, or something for nothing."""
    found: list[int] = []
    for number, wanted in enumerate(view.wanted):
        name = view.canonical(number)
        item = made.buffers.get(name) if view.is_buffer(number) else made.parameters.get(name)
        given = None if item is None or item.rule is None else item.value
        if given != wanted:
            found.append(number)
    return found
