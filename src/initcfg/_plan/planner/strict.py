"""What ``strict=True`` does not allow: rules and checkpoints that do less than they seem to."""

from __future__ import annotations

from collections.abc import Callable

from initcfg._plan.plan import Plan
from initcfg._plan.planner.make import FORWARD_HALF
from initcfg._rules import location
from initcfg.errors import CheckpointError, UnusedRuleError, plural
from initcfg.values import Computed


def check_strict(plan: Plan, line_of: Callable[[str], str | None] = lambda rule: None) -> None:
    """Under ``strict=True``: every rule reaches something, and every parameter is written.

    Args:
        line_of: From the path of a rule to file and line, where that is known.
    """
    computed = [name for name, item in plan.parameters.items() if isinstance(item.value, Computed)]
    for names, problem, fix in (
        (plan.uninitialized, "Nothing writes {}", "Give them a rule."),
        (plan.partly_written, "Only a part is written of {}", "Give them a rule."),
        (
            computed,
            "{} had to be computed while the model was built, outside of the stream",
            "Give them a rule, or leave out strict=True (--strict).",
        ),
    ):
        if names:
            told = problem.format(plural(len(names), "parameter"))
            raise UnusedRuleError(
                f"{told}, and strict=True does not allow that: {', '.join(names[:4])}.", fix=fix
            )
    halves = [note for note in plan.notes if FORWARD_HALF.format("") in note]
    if halves:
        raise UnusedRuleError(
            f"strict=True does not allow a scheme of which a half is missing. {halves[0]}",
            fix="Let the model do that, and say so: forward='done' in the rule; or leave out strict=True "
            "(--strict).",
        )
    for load in plan.loads:
        if load.warning:
            raise CheckpointError(
                f"strict=True does not allow what a checkpoint leaves: {load.warning}",
                where=location(load.rule, line_of(load.rule)),
            )
        if load.idle:
            raise CheckpointError(
                f"strict=True does not allow an adaptation without effect: {load.idle[0]}.",
                where=location(load.rule, line_of(load.rule)),
                fix="Remove it, or leave out strict=True (--strict).",
            )
    reasons = [f"{location(item.rule, line_of(item.rule))}: {item.reason}" for item in plan.unused]
    reasons += [
        f"{location(load.rule, line_of(load.rule))}: {load.problem}" for load in plan.loads if load.problem
    ]
    if reasons:
        first = plan.unused[0] if plan.unused else None
        listed = "".join(f"\n    {reason}" for reason in reasons)
        raise UnusedRuleError(
            f"{plural(len(reasons), 'rule')} reached nothing, and strict=True does not allow that:{listed}",
            rule=first.cfg if first else None,
            where=location(first.rule, line_of(first.rule)) if first else None,
            fix="Correct or remove them, or leave out strict=True (--strict).",
        )
