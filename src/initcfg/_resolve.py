"""From the walk's writes to a plan: for each tensor, the last write wins."""

from __future__ import annotations

from torch import nn

from initcfg._names import Entry, Names, named_tensors
from initcfg._plan import Assignment, Call, Load, Plan, RuleNote, Shadowed, Unused, Write
from initcfg._planner import Record, Walk
from initcfg._pretrained import Opener, match
from initcfg._program import Program, Step
from initcfg._rules import show_cfg
from initcfg._text import plural
from initcfg._values import Keep, Opaque, Value
from initcfg.errors import UnusedRuleError


def make_plan(
    model: nn.Module,
    program: Program,
    *,
    compat: bool,
    strict: bool,
    opener: Opener,
    names: Names | None = None,
) -> Plan:
    """The plan of a program for a model.

    Raises:
        InitcfgError: A rule cannot be carried out; or under ``strict``, one reaches nothing.
    """
    names = named_tensors(model) if names is None else names
    planned = Walk(model, program, names, compat=compat).run()
    records = planned.records
    loads: list[Load] = []
    for step in program.steps:
        if step.kind == "pretrained":
            found, load = match(step, names, opener, len(records))
            records += found
            loads.append(load)
    by_entry: dict[int, list[Record]] = {}
    for record in records:
        if record.entry is not None:
            by_entry.setdefault(id(record.entry), []).append(record)
    finals: set[tuple[int, int]] = set()
    parameters: dict[str, Assignment] = {}
    buffers: dict[str, Assignment] = {}
    for entry in names.parameters():
        parameters[entry.name] = _assign(entry, by_entry.get(id(entry), ()), finals)
    for entry in names.buffers():
        if id(entry) in by_entry:
            buffers[entry.name] = _assign(entry, by_entry[id(entry)], finals)
    plan = Plan(
        parameters=parameters,
        buffers=buffers,
        aliases=_aliases(names),
        unused=tuple(_unused(program, loads)),
        loads=tuple(loads),
        notes=tuple(dict.fromkeys(planned.notes)),
        uncalled=tuple(program.uncalled),
        nested=tuple(program.nested),
        rules=_rule_notes(program),
        compat="mmengine" if compat else None,
        tape=_tape(program, records, finals),
        reached=tuple(names.modules[id(module)] for module in program.reached),
    )
    if strict:
        _check_strict(plan)
    return plan


def _assign(entry: Entry, records: list[Record] | tuple[()], finals: set[tuple[int, int]]) -> Assignment:
    tensor = entry.tensor
    dtype = str(tensor.dtype).removeprefix("torch.")
    frozen = not entry.buffer and not tensor.requires_grad
    if not records:
        return Assignment(entry.name, entry.shape, dtype, Keep(), frozen=frozen)
    ordered = sorted(records) if len(records) > 1 else list(records)
    value: Value = Keep()
    layers: list[tuple[Record, Value]] = []
    for index, record in enumerate(ordered):
        if isinstance(record.value, Opaque):
            # User code finds, and may leave, what was written before.
            value = Opaque(record.step.code, value)
        else:
            value = record.value
        layers.append((record, value))
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        if following is None or isinstance(following.value, Opaque):
            finals.add((record.order, record.sequence))
    last = ordered[-1]
    return Assignment(
        name=entry.name,
        shape=entry.shape,
        dtype=dtype,
        value=value,
        initializer=None if last.step.rule is None else last.step.rule.initializer(last.role),
        rule=_where(last.step),
        shadowed=tuple(
            Shadowed(
                _where(record.step), shadow, record.step.rule and record.step.rule.initializer(record.role)
            )
            for record, shadow in layers[:-1]
        ),
        frozen=frozen,
        layout=last.layout,
    )


def _where(step: Step) -> str:
    if step.rule is not None:
        return step.rule.where
    return ".".join(filter(None, ("model", step.owner_name, "init_weights")))


def _aliases(names: Names) -> dict[str, str]:
    return {
        name: entry.name
        for entries in (names.parameters(), names.buffers())
        for entry in entries
        if len(entry.names) > 1
        for name in sorted(set(entry.names))
        if name != entry.name
    }


def _tape(program: Program, records: list[Record], finals: set[tuple[int, int]]) -> tuple[Write | Call, ...]:
    """Everything that runs, in order: draws, shadowed ones too, and the user's code between them."""
    entries: list[tuple[int, int, Write | Call]] = []
    for record in records:
        if isinstance(record.value, Opaque):
            continue
        final = (record.order, record.sequence) in finals
        if not final and not record.value.random:
            continue
        if record.entry is None and not record.value.random:
            continue
        name = None if record.entry is None else record.entry.name
        shape = record.layout.shape
        dtype = str(record.dtype).removeprefix("torch.")
        write = Write(name, record.value, final and name is not None, _where(record.step), shape, dtype)
        entries.append((record.order, record.sequence, write))
    for step in program.steps:
        if step.kind == "method":
            entries.append((step.order, 0, Call(step.owner_name, step.code)))
        elif step.kind == "foreign" and step.rule is not None:
            foreign = (step.rule.foreign, step.rule.override_name)
            entries.append((step.order, 0, Call(step.owner_name, step.code, step.rule.where, foreign)))
    entries.sort(key=lambda entry: entry[:2])
    return tuple(entry[2] for entry in entries)


# -- what reached nothing ------------------------------------------------------------------------


def _unused(program: Program, loads: list[Load]) -> list[Unused]:
    failed = {load.rule for load in loads if load.problem}
    found: list[Unused] = []
    for step in program.steps:
        rule = step.rule
        if rule is None or step.hits or step.kind == "foreign" or rule.where in failed:
            continue
        if not step.whole and not rule.selects and step.kind == "rule":
            if rule.overrides:
                continue
            reason = "it has neither layer, name, param nor override, so it initializes nothing"
        else:
            reason = _why_nothing(step)
        found.append(Unused(rule.where, show_cfg(rule.cfg), reason))
    return found


def _why_nothing(step: Step) -> str:
    rule = step.rule
    assert rule is not None
    if step.kind == "pretrained":
        return "no key of the checkpoint fits a tensor of the module"
    if step.whole:
        return "what it names holds no weight and no bias"
    if rule.layers:
        names = sorted(rule.layers.names) + [cls.__name__ for cls in rule.layers.classes]
        present = {type(module) for module in step.target.modules() if rule.layers.matches(type(module))}
        listed = ", ".join(names)
        if not present:
            return f"there is no {listed} at or below {step.owner_name or 'the model'}"
        return f"the {listed} here hold nothing that it could set"
    return "everything that it selects is excluded"


def _rule_notes(program: Program) -> dict[str, RuleNote]:
    return {
        step.rule.where: RuleNote(show_cfg(step.rule.cfg), step.rule.written)
        for step in program.steps
        if step.rule is not None
    }


def _check_strict(plan: Plan) -> None:
    problems = [f"{load.rule}: {load.problem}" for load in plan.loads if load.problem]
    if plan.unused or problems:
        first = plan.unused[0] if plan.unused else None
        lines = [f"{item.rule}: {item.reason}" for item in plan.unused] + problems
        raise UnusedRuleError(
            f"{plural(len(lines), 'rule')} reached nothing, and strict=True does not allow that:\n    "
            + "\n    ".join(lines),
            rule=first.cfg if first else None,
            where=first.rule if first else None,
            mend="Correct or remove them, or leave out strict=True.",
        )
