"""What is known once a model's own code has run: rules that it left out, and weights that it wrote over."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from initcfg._plan import Call, Plan, RuleNote, Unused, rule_note
from initcfg.errors import plural


def idle_rules(plans: Sequence[Plan], failed: Collection[Call]) -> dict[str, tuple[Unused, RuleNote]]:
    """The rules that reached nothing or did not run at all, by their path.

    Args:
        plans: The plan, and those of the parts that code called for, in their order.
        failed: Calls of code that did not end, so that nothing is known of them.
    """
    found: dict[str, tuple[Unused, RuleNote]] = {}
    ran: set[str] = set()
    for index, plan in enumerate(plans):
        idle = {unused.rule for unused in plan.unused}
        ran.update(where for where in plan.rules if where not in idle)
        for unused in plan.unused:
            # Of rules that code gives to initialize(), it is the code's affair what they reach.
            if index == 0 or unused.rule.startswith("model."):
                found[unused.rule] = unused, plan.rules[unused.rule]
        for _, call in plan.tape.calls if plan.tape is not None else ():
            if not any(call is each for each in failed):
                found.update((each.rule, (each, rule_note(each.cfg, line))) for each, line in call.instead)
    return {where: each for where, each in found.items() if where not in ran}


def over_library(path: str, library: str, count: int) -> str:
    """The remark on a method that wrote over what the constructors of its library made."""
    return (
        f"{path}() is called, as MMEngine does, and writes over {plural(count, 'tensor')} that {library}'s "
        "constructors, or a checkpoint, gave"
    )
