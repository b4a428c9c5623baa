"""The whole story of one parameter."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING

from initcfg._plan.assignment import Assignment, Before, Shadowed
from initcfg._plan.loads import weight_of
from initcfg._plan.report.scaling import scaling_lines
from initcfg._plan.report.words import shape_text, uncalled_text, value_text
from initcfg.errors import FanError, PlanError, nearest, shown
from initcfg.values import Keep, Opaque, to_json

if TYPE_CHECKING:
    from initcfg._plan.plan import Plan


def explain_text(plan: Plan, name: str) -> str:
    """Each rule that reached a parameter, in order, where each was written, who won and why."""
    if name not in plan and (before := plan.before_code.get(name)) is not None:
        head = f"  {before.dtype}, {shape_text(before.shape)}"
        return "\n".join(map(shown, (name, head, "", "The model's own code takes it away.")))
    if name not in plan:
        known = [*plan.parameters, *plan.buffers, *plan.aliases]
        tail = name.rpartition(".")[2]
        within = [each for each in known if each.startswith(name + ".")][:4]
        told = f"{name!r} is a module, and no parameter." if within else f"There is no parameter {name!r}."
        meant = within or nearest(name, known) or [each for each in known if each.endswith("." + tail)][:4]
        fix = None if meant else "initcfg plan lists the parameters."
        raise PlanError(told, meant=meant, fix=fix)
    item = plan[name]
    lines = [*_head(plan, name, item), ""]
    if item.name in plan.partly_written:
        lines += ["Only a part of it is written: nothing says what the rest is to hold.", ""]
    if item.name in plan.uninitialized:
        lines += ["It is never written: no rule and no constructor fills it.", ""]
    if item.name in plan.before_code:
        lines += [_of_code(item, plan.before_code[item.name]), ""]
    reached = [*item.shadowed] + ([write] if (write := item.write) else [])
    if item.default is not None:
        lines += [f"Without any rule: {value_text(item.default.value)}, default ({item.default.rule}).", ""]
    if not reached and item.default is not None:
        lines.append("No rule reaches it.")
    elif not reached and isinstance(item.value, Opaque):
        lines.append("No rule reaches it: the model's own code makes it what it is.")
    elif not reached:
        lines.append(f"No rule reaches it: it {value_text(item.value)}.")
    else:
        lines.append("Rules that reach it, in order; the last wins:")
        for index, (each, following) in enumerate(zip_longest(reached, reached[1:])):
            lines += _write(plan, index + 1, each, following)
    lines += _hooks(plan, item)
    lines += _checkpoints(plan, item)
    lines += _numbers(item)
    lines += _others(plan, item, {each.rule for each in reached})
    return "\n".join(map(shown, lines))


def _of_code(item: Assignment, before: Before | None) -> str:
    """What the model's own code makes of a tensor that is another before it runs."""
    if before is None:
        return "The model's own code puts it there."
    if (before.shape, before.dtype) == (item.shape, item.dtype):
        return "The model's own code stores it in another way: as a parametrization, or as a buffer."
    was = f"before, it is {before.dtype} of shape {shape_text(before.shape)}"
    return f"The model's own code puts it there; {was}."


def _head(plan: Plan, name: str, item: Assignment) -> list[str]:
    facts = [item.dtype, shape_text(item.shape), f"{item.elements:,} elements"]
    if item.frozen:
        facts.append("frozen (requires_grad=False)")
    if item.name in plan.buffers:
        facts.append("buffer")
    known = [item.name, *(alias for alias, canonical in plan.aliases.items() if canonical == item.name)]
    aliases = [other for other in known if other != name] if len(known) > 1 else []
    tied = [f"  also known as {', '.join(aliases)}: one tensor"] if aliases else []
    title = item.name if name == item.name else f"{name} (tied to {item.name})"
    becomes = value_text(item.value) if isinstance(item.value, Keep) else f"becomes {item.value}"
    return [title, f"  {', '.join(facts)}", *tied, f"  {becomes}"]


def _write(plan: Plan, number: int, each: Shadowed, following: Shadowed | None) -> list[str]:
    note = plan.rules.get(each.rule)
    written = f" ({note.written})" if note and note.written else ""
    outcome = "wins" if following is None else f"overridden: {_why(each, following)}"
    cfg = [f"     {note.cfg}"] if note else []
    return [f"  {number}. {each.rule}{written}", *cfg, f"     → {each.value}   {outcome}"]


def _why(loser: Shadowed, winner: Shadowed) -> str:
    if code := _module_of_code(winner):
        if _owner(loser.rule) == code:
            return "its module's own init_weights writes it after that"
        return "a module's own init_weights runs after its parents' rules"
    if (winner.initializer or {}).get("type") == "Pretrained":
        return "Pretrained beats every other rule of its module and of the modules below"
    if winner.rule.startswith(f"{loser.rule}.override"):
        return "an override beats the rule that it stands in"
    if _owner(loser.rule) == _owner(winner.rule):
        return "a later entry of the list beats an earlier one"
    if _module_of_code(loser):
        return "it runs after that code"
    return "a child's init_cfg beats its parents'"


def _module_of_code(write: Shadowed) -> str | None:
    """The module whose own method wrote, as the paths of its rules begin; None if a rule did."""
    path, _, name = write.rule.rpartition(".")
    return f"{path}." if name == "init_weights" else None


def _checkpoints(plan: Plan, item: Assignment) -> list[str]:
    """Checkpoints that could have had it, and why they have not."""
    lines: list[str] = []
    for load in plan.loads:
        shapes = {name: there for name, _, there in load.mismatched}
        if item.name in load.missing:
            lines.append(f"  {load.rule}: {load.source} does not hold it")
        elif item.name in shapes:
            there = shape_text(shapes[item.name])
            lines.append(f"  {load.rule}: {load.source} has it as {there}, which does not fit")
        elif item.name in load.excluded:
            lines.append(f"  {load.rule}: leaves it out")
    return ["", "Checkpoints that do not give it:", *lines] if lines else []


def _hooks(plan: Plan, item: Assignment) -> list[str]:
    """The load hooks that its value from a checkpoint went through."""
    lines: list[str] = []
    for run in (run for load in plan.loads if load.rule == item.rule for run in load.hooks):
        start = f"{run.owner}." if run.owner else ""
        for name, given, shape, _ in run.made:
            if weight_of(start + name) == item.name:
                how = f"taken from {given}" if given else f"computed, {shape_text(shape)}"
                lines.append(f"  {how} by {', '.join(run.hooks)}")
    return ["", "Load hooks of the model:", *lines] if lines else []


def _owner(rule: str) -> str:
    return rule.rpartition("init_cfg")[0]


def _numbers(item: Assignment) -> list[str]:
    lines = [""]
    if item.initializer:
        inner = ", ".join(f"{key}={value!r}" for key, value in item.initializer.items() if key != "type")
        lines.append(f"initializer  {item.initializer.get('type')}({inner})")
    if item.computed:
        lines.append(f"computed     {item.computed}")
    if not isinstance(item.value, Keep):
        lines.append(f"resolved     {to_json(item.value)}")
    lines += scaling_lines(item)
    if item.layout is not None:
        layout = item.layout.part(item.layout.parts[0]) if item.layout.parts else item.layout
        try:
            fan_in, fan_out = layout.fans()
        except FanError:
            return lines
        apart = f", for each of {len(item.layout.parts)} parts" if item.layout.parts else ""
        kind = ", transposed" if item.layout.transposed else ""
        groups = f", {item.layout.groups} groups" if item.layout.groups > 1 else ""
        lines.append(f"fans         fan_in {fan_in}, fan_out {fan_out}{apart}{groups}{kind}")
    return lines


def _others(plan: Plan, item: Assignment, reached: set[str | None]) -> list[str]:
    """Rules of the modules above it that do not reach it."""
    lines: list[str] = []
    reasons = {unused.rule: unused.reason for unused in plan.unused}
    for where, note in plan.rules.items():
        owner = _owner(where).rstrip(".").removeprefix("model").lstrip(".")
        if _is_in(item, owner) and where not in reached and not _is_scheme_of(where, reached):
            lines.append(f"  {where}  {note.cfg}")
            lines += [f"    {reasons[where]}"] if where in reasons else []
    if lines:
        lines = ["", "Rules above it that do not reach it:", *lines]
    uncalled = [f"  {uncalled_text(plan, name)}" for name in plan.uncalled if _is_in(item, name)]
    return [*lines, "", "Code above it that is not called:", *uncalled] if uncalled else lines


def _is_scheme_of(where: str, reached: set[str | None]) -> bool:
    """Whether a rule is a scheme, a part of which reaches the tensor."""
    return any(each is not None and re.match(re.escape(where) + r"\.\w+\[", each) for each in reached)


def _is_in(item: Assignment, owner: str) -> bool:
    """Whether a tensor is one of the module of this name."""
    return not owner or item.name.startswith(owner + ".")
