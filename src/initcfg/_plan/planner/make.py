"""From the walk's writes to a plan: for each tensor, the last write wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from initcfg._model import Holding, Names, Roles, named_tensors
from initcfg._plan.assignment import Assignment, Role, Shadowed, Unused, rule_note
from initcfg._plan.frozen import LateDict
from initcfg._plan.loads import Load
from initcfg._plan.plan import Plan
from initcfg._plan.planner.assigned import Assigned
from initcfg._plan.planner.numbers import NOTHING_GIVEN, GivenRoles, RoleRequest
from initcfg._plan.planner.walk import RuleWalk
from initcfg._plan.pretrained import judged, match
from initcfg._plan.stacks import First, Stacks
from initcfg._plan.tape import Call, Tape
from initcfg._plan.tracks import Stamps, Track, Tracks
from initcfg._rules import Program, Rule, SchemeRule, Step, WrittenAt
from initcfg._rules.initializers import BatchInit, FunctionInit, PretrainedInit
from initcfg.values import Keep, Opaque, dtype_name

_SHOWN = 4


Missing = tuple[Holding, tuple[int, ...]]
"""Of a module, the places of those of its tensors of which only its constructor can say what they hold."""


@dataclass(frozen=True)
class Defaults:
    """What the constructors of a model wrote, or meant to."""

    writes: Mapping[str, Shadowed] = field(default_factory=dict)
    # By the ``id`` of a holding: the same of the missing tensors of a layer, all of which are known.
    of_layers: Mapping[int, tuple[Shadowed, ...]] = field(default_factory=dict)
    # The tensors that none wrote, each with the code that may have been meant, if there is some.
    unwritten: Mapping[str, str | None] = field(default_factory=dict)
    # Those of which they wrote a part only.
    partly: tuple[str, ...] = ()
    # Remarks on how the model was built.
    notes: tuple[str, ...] = ()


def make_plan(
    model: nn.Module,
    program: Program,
    *,
    compat: bool,
    names: Names | None = None,
    first_writes: Callable[[Names], Defaults] | None = None,
    lost: Callable[[list[Missing]], Defaults] | None = None,
    roles: RoleRequest = NOTHING_GIVEN,
) -> Plan:
    """The plan of a program for a model.

    Args:
        compat: Write what the original writes, and no more.
        names: Its tensors, where they have been collected.
        first_writes: What the constructors of a pending model meant: the first write of each tensor.
        roles: What is given for finding roles, if a rule asks for them.
        lost: What is known of tensors on the meta device that no rule reaches: a first write, too.
    """
    names = named_tensors(model) if names is None else names
    if not program.steps:
        # Nothing is asked for that could be done without them.
        names.refuse_lazy()
    walk = RuleWalk(model, program, names, compat=compat, roles=roles)
    walk.run()
    stacks, used = walk.stacks, walk.used
    loads: list[Load] = []
    # By module: the checkpoint that it loads before, into which an adapter may be merged.
    weaker: dict[int, PretrainedInit] = {}
    for step in program.steps:
        if step.kind == "pretrained":
            filled, load = match(step, names, compat=compat, weaker=weaker.get(id(step.target)))
            if step.rule is not None and step.rule.pretrained is not None:
                weaker[id(step.target)] = step.rule.pretrained
            loads.append(load)
            used.update([step.order] if filled else ())
            for entry, stack in filled:
                stacks.add(entry, stack)
    built = Defaults() if first_writes is None else first_writes(names)
    unwritten, partly = _add_defaults(stacks, names, built, lost)
    assigned = Assigned(names, stacks, walk.tunes, compat=compat)
    # The assignments of tensors that are alike get their names when they are read.
    parameters, buffers = LateDict(assigned.parameters), LateDict(assigned.buffers)
    if any(idle.rule is not None and (idle.rule.roles or idle.rule.asked) for idle in program.idle):
        # Code may call for rules by role: it would find the model in the middle of its own work.
        _ = walk.numbers.roles
    if (found := walk.numbers.found) is not None:
        parameters = LateDict({name: _with_role(item, found) for name, item in parameters.items()})
    idle = _idle(program)
    return Plan(
        parameters=parameters,
        buffers=buffers,
        aliases=names.aliases,
        unused=(*_unused(program, used, loads), *(unused for unused, _ in idle.get(None, ()))),
        loads=judged(loads, {**parameters, **buffers}, names.aliases, compat=compat) if loads else (),
        notes=tuple(
            dict.fromkeys(
                (
                    *walk.notes,
                    *_forward_halves(program, found),
                    *_left_by_schemes(program, parameters),
                    *_of_roles(found),
                    *program.notes,
                    *_left_alone(names),
                    *built.notes,
                )
            )
        ),
        uncalled=tuple(program.uncalled),
        libraries=dict(program.libraries),
        nested=tuple(program.nested),
        # The model's own code may write what is opaque; whether it does is not known here.
        uninitialized=tuple(
            name
            for name in unwritten
            if name in parameters and isinstance(parameters[name].value, Keep) and parameters[name].elements
        ),
        partly_written=tuple(name for name in partly if name in parameters and parameters[name].rule is None),
        rules={
            step.rule.where: rule_note(str(step.rule), step.rule.written)
            for step in program.steps
            if step.rule is not None
        }
        | {
            use.where: rule_note(str(use), use.written)
            for step in program.steps
            if step.rule is not None and (use := step.rule.scheme) is not None
        }
        | {unused.rule: rule_note(unused.cfg, written) for unused, written in idle.get(None, ())},
        compat="mmengine" if compat else None,
        tape=replace(
            _tape(program, names, walk, assigned.stamps, idle, compat), part_roles=walk.numbers.of_part
        ),
        reached=tuple(names.modules[id(module)] for module in program.reached),
        given=GivenRoles(model, roles),
    )


def _with_role(item: Assignment, roles: Roles) -> Assignment:
    known = roles.tensors.get(item.name)
    if known is None:
        return item
    return replace(item, role=Role(known.roles, known.how, known.layer, roles.number("layers", item.name)))


def _of_roles(roles: Roles | None) -> Iterator[str]:
    """Remarks on how roles were found; what the model is like (``pre-norm``) is none."""
    for note in () if roles is None else roles.notes:
        if ": " in note:
            yield f"roles: {note}"


def _left_by_schemes(program: Program, parameters: Mapping[str, Assignment]) -> Iterator[str]:
    """What schemes that are for most of a model's matrices leave of them, as no other rule fills it."""
    uses = dict.fromkeys(step.rule.scheme for step in program.steps if step.rule is not None)
    uses.pop(None, None)
    if not uses:
        return
    matrices = {name: item for name, item in parameters.items() if len(item.shape) >= 2 and item.elements}
    left = [name for name, item in matrices.items() if item.rule is None and isinstance(item.value, Keep)]
    for use in uses if left else ():
        if use is None or use.patterns.get("name") or use.patterns.get("exclude"):
            continue
        reached = sum((item.rule or "").startswith(f"{use.where}.{use.name}[") for item in matrices.values())
        if 2 * reached >= len(matrices):
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            yield (
                f"{use.where}: {use.name} leaves {len(left)} of {len(matrices)} matrices as they were "
                f"constructed: {', '.join(left[:_SHOWN])}{more}"
            )


def _forward_halves(program: Program, roles: Roles | None) -> Iterator[str]:
    """What schemes also ask of the forward pass, where their rule does not say that it is done."""
    for step in program.steps:
        use = None if step.rule is None else step.rule.scheme
        if use is not None and use.scheme.forward and not use.done:
            told = use.scheme.forward_with(roles.layers if roles is not None else None)
            yield f"{use.where}: {FORWARD_HALF.format(use.name)} {told}"


FORWARD_HALF = "{} is half done by initial weights:"


def _left_alone(names: Names) -> Iterator[str]:
    """Remarks on the parts of a model that rules reach in part or not at all."""
    if names.lazy:
        listed, more = list(names.lazy.values())[:_SHOWN], max(len(names.lazy) - _SHOWN, 0)
        yield (
            f"{', '.join(listed)}{f' and {more} more' if more else ''}: lazy, without a shape until they "
            "have seen data. The plan leaves them alone, and their layers fill them with the first batch."
        )
    for name, cls in names.compiled.items():
        held = (each for entry in names.entries.values() for each in entry.names)
        reached = (
            "layer= does not mean its modules any more; name= and param= reach its tensors."
            if any(each.startswith(f"{name}." if name else "") for each in held)
            else "it holds its weights as constants, which nothing can write."
        )
        yield f"{name or 'The model'} is compiled by torch.jit (from a {cls}): {reached}"


def _add_defaults(
    stacks: Stacks,
    names: Names,
    built: Defaults,
    lost: Callable[[list[Missing]], Defaults] | None,
) -> tuple[list[str], list[str]]:
    """Put below all rules what constructors wrote; the names of what they did not write, and of parts."""
    for entry in (*names.parameters, *names.buffers) if built.writes else ():
        if entry.name in built.writes:
            stacks.add_first(entry, built.writes[entry.name])
    missing = [] if lost is None else list(_missing(stacks, names))
    known = Defaults() if lost is None or not missing else lost(missing)
    firsts: dict[tuple[int, int], First] = {}
    for holding, places in missing:
        writes = known.of_layers.get(id(holding))
        if writes is None:
            for entry in (holding.entries[place] for place in places):
                if entry.name in known.writes:
                    stacks.add_first(entry, known.writes[entry.name])
            continue
        # These are one object for layers that are alike, kept by what gave them.
        key = id(places), id(writes)
        if key not in firsts:
            assert holding.like is not None
            shapes = [holding.like.tensors[place].shape for place in places]
            found = map(stacks.first, shapes, writes)
            firsts[key] = tuple(zip(places, found, strict=True))
        stacks.firsts[holding.place] = firsts[key]
    return [*built.unwritten, *known.unwritten], [*built.partly, *known.partly]


def _missing(stacks: Stacks, names: Names) -> Iterator[Missing]:
    """The tensors on the meta device of which nothing but the constructor can say what they are to hold."""
    # By identity of a likeness and a row, which are kept.
    of_layers: dict[tuple[int, int], tuple[int, ...]] = {}
    for holding in names.holdings:
        like = holding.like
        if like is not None and not like.has_meta:
            continue
        if like is None or stacks.apart(holding):
            places = tuple(
                place
                for place, entry in enumerate(holding.entries)
                if entry.tensor.is_meta
                and entry.holder is None
                and all(isinstance(each.stack.writes[-1].value, Opaque) for each in stacks.of(holding, place))
            )
        else:
            row = stacks.rows[holding.place]
            key = id(like), id(row)
            if key not in of_layers:
                written = {place for place, _ in row}
                held = enumerate(like.tensors)
                of_layers[key] = tuple(place for place, each in held if each.meta and place not in written)
            places = of_layers[key]
        if places:
            yield holding, places


_IdleRules = Mapping[int | None, tuple[tuple[Unused, WrittenAt | None], ...]]
"""Rules that no step is for, by the place of the call of user code that may run them; None: nothing does."""


def _idle(program: Program) -> _IdleRules:
    # Of a module that is met in two places, one may be a step's.
    rules = [step.rule for step in program.steps if step.rule is not None]
    seen = {(rule.scheme or rule).where for rule in rules}
    found: dict[int | None, tuple[tuple[Unused, WrittenAt | None], ...]] = {}
    for idle in sorted(program.idle, key=lambda each: each.order is None):
        # The parts of a scheme are one rule of their owner.
        use = None if idle.rule is None else idle.rule.scheme
        where, cfg = (idle.where, idle.cfg) if use is None else (use.where, str(use))
        if where not in seen:
            unused = Unused(where, cfg, idle.reason)
            found[idle.order] = (*found.get(idle.order, ()), (unused, idle.written))
            seen.add(where)
    return found


def _tape(
    program: Program,
    names: Names,
    walk: RuleWalk,
    stamps: Stamps,
    idle: _IdleRules,
    compat: bool,
) -> Tape:
    outside = [Track(None, shape, dtype_name(dtype), (stack,)) for shape, dtype, stack in walk.stacks.outside]
    calls: list[tuple[int, Call]] = []
    for step in program.steps:
        if step.kind == "method":
            instead = idle.get(step.order, ())
            call = Call(step.owner_name, step.code, library=step.library, instead=instead)
            calls.append((step.order, call))
        elif step.kind == "foreign" and step.rule is not None:
            foreign = (step.rule.foreign, step.rule.override_name)
            calls.append((step.order, Call(step.owner_name, step.code, step.rule.where, foreign)))
    by_order = {step.order: step.rule for step in program.steps}
    calls += [
        (order, _run_function(by_order[order], name, attributes))
        for (order, name), attributes in walk.functions.items()
    ]
    done = (names.modules[id(module)] for module in names.others if module.__dict__.get("_is_init"))
    batches = {
        step.rule.where: step.rule.weight
        for step in program.steps
        if step.rule is not None and isinstance(step.rule.weight, BatchInit)
    }
    return Tape(Tracks(stamps, outside), tuple(calls), repeats=compat, done=frozenset(done), batches=batches)


def _run_function(rule: Rule | None, module: str, attributes: Mapping[str, bool]) -> Call:
    """The call of a rule's function with tensors of a module, for which it is no value."""
    assert rule is not None
    initializer = rule.bias if all(attributes.values()) else rule.weight
    assert isinstance(initializer, FunctionInit)
    return Call(
        module, f"function {rule.type_name}", rule.where, (initializer.as_code(tuple(attributes)), None)
    )


def _unused(program: Program, used: set[int], loads: list[Load]) -> list[Unused]:
    failed = {load.rule for load in loads if load.problem}
    found = [
        Unused(use.where, str(use), "no part of it reaches anything")
        for use in dict.fromkeys(step.rule.scheme for step in program.steps if step.rule is not None)
        if use is not None and not any(step.order in used for step in program.steps if _is_part(step, use))
    ]
    return found + [
        Unused(rule.where, str(rule), reason)
        for step in program.steps
        if (rule := step.rule) is not None
        and rule.scheme is None
        and not (step.order in used or step.kind == "foreign" or rule.where in failed)
        and (reason := _why_nothing(step, rule)) is not None
    ]


def _is_part(step: Step, use: SchemeRule) -> bool:
    return step.rule is not None and step.rule.scheme is use


def _why_nothing(step: Step, rule: Rule) -> str | None:
    """Why a step reached nothing; None if it is not meant to reach anything."""
    if step.kind == "pretrained":
        return "no key of the checkpoint fits a tensor of the module"
    if step.whole:
        return "what it names holds no weight and no bias"
    if not rule.selects:
        nothing = "it has neither layer, name, param, role nor override, so it initializes nothing"
        return None if rule.overrides else nothing
    if rule.roles and not (rule.layers or rule.params or rule.names):
        return (
            f"no tensor here that is not excluded has the role {', '.join(each.text for each in rule.roles)}"
        )
    if not rule.layers:
        return "everything that it selects is excluded"
    listed = ", ".join(sorted(rule.layers.names) + [cls.__name__ for cls in rule.layers.classes])
    if any(rule.layers.matches(type(module)) for module in step.target.modules()):
        narrowed = rule.names or rule.params or rule.buffers or rule.roles or rule.excludes
        why = "what its patterns select" if narrowed else "here"
        return f"no {listed} {why} holds anything that it could set"
    # In a part that code called for, the step knows its module by its name there alone.
    owner = rule.where.rpartition(".init_cfg")[0].removeprefix("model").lstrip(".")
    return f"there is no {listed} at or below {owner or 'the model'}"
