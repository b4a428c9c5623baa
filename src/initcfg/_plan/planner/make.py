"""From the walk's writes to a plan: for each tensor, the last write wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from initcfg._model import Entry, Names, named_tensors
from initcfg._plan.assignment import Assignment, RuleNote, Unused
from initcfg._plan.loads import Load
from initcfg._plan.plan import Plan
from initcfg._plan.planner.first_writes import ORDER, Defaults, MetaDefaults
from initcfg._plan.planner.walk import Planned, Walk
from initcfg._plan.pretrained import match, open_pretrained
from initcfg._plan.stacks import Piece, Stack, merge
from initcfg._plan.tape import Call, Tape, Track
from initcfg._rules import Program, Step, show_cfg
from initcfg.errors import UnusedRuleError, plural
from initcfg.values import Computed, Keep, Layout, Opaque, dtype_name


def make_plan(
    model: nn.Module,
    program: Program,
    *,
    compat: bool,
    strict: bool,
    names: Names | None = None,
    first_writes: Callable[[Names], Defaults] | None = None,
    lost: Callable[[list[Entry]], MetaDefaults] | None = None,
) -> Plan:
    """The plan of a program for a model.

    Args:
        model: The root.
        program: The steps.
        compat: Write what the original writes, and no more.
        strict: A rule that reaches nothing is an error.
        names: Its tensors, where they have been collected.
        first_writes: What the constructors of a pending model meant: the first write of each tensor.
        lost: What is known of tensors on the meta device that no rule reaches: a first write, too.

    Raises:
        InitcfgError: A rule cannot be carried out; or under ``strict``, one reaches nothing.
    """
    names = named_tensors(model) if names is None else names
    planned = Walk(model, program, names, compat=compat).run()
    loads: list[Load] = []
    for step in program.steps:
        if step.kind == "pretrained":
            found, load = match(step, names, open_pretrained, compat=compat)
            loads.append(load)
            for entry, stack in found:
                planned.sequence += 1
                planned.pieces.setdefault(id(entry), []).append((planned.sequence, stack))
    built = Defaults() if first_writes is None else first_writes(names)
    for key, piece in built.pieces.items():
        planned.pieces[key] = [piece, *planned.pieces.get(key, ())]
    missing = [entry for entry in (*names.parameters, *names.buffers) if _is_missing(entry, planned)]
    known = MetaDefaults() if lost is None or not missing else lost(missing)
    for entry in missing:
        if entry.name in known.writes:
            piece = (0, Stack((ORDER,), (known.writes[entry.name],), Layout(entry.shape)))
            planned.pieces[id(entry)] = [piece, *planned.pieces.get(id(entry), ())]
    parameters = {
        entry.name: _assign(entry, planned.pieces.get(id(entry), ()), compat) for entry in names.parameters
    }
    buffers = {
        entry.name: _assign(entry, planned.pieces[id(entry)], compat)
        for entry in names.buffers
        if id(entry) in planned.pieces
    }
    plan = Plan(
        parameters=parameters,
        buffers=buffers,
        aliases=names.aliases,
        unused=tuple(_unused(program, loads)),
        loads=tuple(loads),
        notes=tuple(dict.fromkeys(planned.notes)),
        uncalled=tuple(program.uncalled),
        nested=tuple(program.nested),
        uninitialized=tuple(
            # The model's own code may write what is opaque; whether it does is not known here.
            name
            for name in (*built.unwritten, *(name for name in known.unwritten if name in parameters))
            if isinstance(parameters[name].value, Keep)
        ),
        rules=_rule_notes(program),
        compat="mmengine" if compat else None,
        tape=_tape(program, names, planned, compat),
        reached=tuple(names.modules[id(module)] for module in program.reached),
    )
    if strict:
        _check_strict(plan)
    return plan


def _is_missing(entry: Entry, planned: Planned) -> bool:
    """Whether nothing but the constructor can say what a tensor on the meta device is to hold."""
    pieces = planned.pieces.get(id(entry), ())
    ruled = any(not isinstance(piece[1].top.value, Opaque) for piece in pieces)
    return entry.tensor.is_meta and entry.holder is None and not ruled


def _assign(entry: Entry, pieces: Sequence[Piece], compat: bool) -> Assignment:
    tensor = entry.tensor
    frozen = not entry.buffer and not tensor.requires_grad
    dtype = dtype_name(tensor.dtype)
    if not pieces:
        return Assignment(entry.name, entry.shape, dtype, Keep(), frozen=frozen)
    ruled = [
        piece
        for piece in pieces
        if piece[1].orders[-1] != ORDER and not isinstance(piece[1].top.value, Opaque)
    ]
    layout = max(ruled, key=lambda piece: (piece[1].orders[-1], piece[0]))[1].layout if ruled else None
    if len(pieces) == 1:
        writes = pieces[0][1].writes
    else:
        writes = tuple(write for _, _, write in merge(pieces, repeats=compat))
    default = writes[0] if pieces[0][1].orders[0] == ORDER else None
    top = writes[-1]
    if top is default:
        # No rule reaches it.
        return Assignment(entry.name, entry.shape, dtype, top.value, frozen=frozen, default=default)
    return Assignment(
        name=entry.name,
        shape=entry.shape,
        dtype=dtype,
        value=top.value,
        initializer=top.initializer,
        rule=top.rule,
        shadowed=writes[0 if default is None else 1 : -1],
        frozen=frozen,
        default=default,
        layout=layout,
    )


def _tape(program: Program, names: Names, planned: Planned, compat: bool) -> Tape:
    tracks = [
        Track(entry.name, entry.shape, dtype_name(entry.tensor.dtype), tuple(planned.pieces[id(entry)]))
        for entries in (names.parameters, names.buffers)
        for entry in entries
        if id(entry) in planned.pieces
    ]
    tracks += [Track(None, shape, dtype_name(dtype), (piece,)) for shape, dtype, piece in planned.outside]
    calls: list[tuple[int, Call]] = []
    for step in program.steps:
        if step.kind == "method":
            calls.append((step.order, Call(step.owner_name, step.code)))
        elif step.kind == "foreign" and step.rule is not None:
            foreign = (step.rule.foreign, step.rule.override_name)
            calls.append((step.order, Call(step.owner_name, step.code, step.rule.where, foreign)))
    return Tape(tuple(tracks), tuple(calls), repeats=compat)


# -- what reached nothing ------------------------------------------------------------------------


def _unused(program: Program, loads: list[Load]) -> list[Unused]:
    failed = {load.rule for load in loads if load.problem}
    found: list[Unused] = []
    for step in program.steps:
        rule = step.rule
        if rule is None or step.used or step.kind == "foreign" or rule.where in failed:
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
    if plan.uninitialized:
        raise UnusedRuleError(
            f"Nobody writes {plural(len(plan.uninitialized), 'parameter')}, and strict=True does not allow "
            f"that: {', '.join(plan.uninitialized[:4])}.",
            fix="Give them a rule.",
        )
    computed = [name for name, item in plan.parameters.items() if isinstance(item.value, Computed)]
    if computed:
        raise UnusedRuleError(
            f"{plural(len(computed), 'parameter')} had to be computed while the model was built, outside "
            f"of the stream, and strict=True does not allow that: {', '.join(computed[:4])}.",
            fix="Give them a rule, or leave out strict=True.",
        )
    if plan.unused or problems:
        first = plan.unused[0] if plan.unused else None
        lines = [f"{item.rule}: {item.reason}" for item in plan.unused] + problems
        raise UnusedRuleError(
            f"{plural(len(lines), 'rule')} reached nothing, and strict=True does not allow that:\n    "
            + "\n    ".join(lines),
            rule=first.cfg if first else None,
            where=first.rule if first else None,
            fix="Correct or remove them, or leave out strict=True.",
        )
