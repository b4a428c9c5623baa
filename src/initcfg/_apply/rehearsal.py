"""The rehearsal: a model's own ``init_weights`` runs while planning, and nothing of it stays.

The tape is run over a shadow of the model with every write recorded: the rules', and those of the code
between them. What the code means then stands in the plan as values, in place of "whatever it does".
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from initcfg._apply.execution import Execution
from initcfg._apply.filling import Filler, StreamFiller
from initcfg._apply.idle_rules import idle_rules, over_library
from initcfg._apply.overlaps import neighbors_in
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._apply.preconditions import Seen
from initcfg._apply.recorded_writes import apart_from_record
from initcfg._apply.user_code import call_user_code
from initcfg._model import Entry, collecting, is_sharded, named_tensors, paused_collector, running
from initcfg._plan import (
    Assignment,
    Call,
    MakeUp,
    Plan,
    Shadowed,
    Write,
    altered,
    changed_make_up,
    make_up_of,
)
from initcfg._record import (
    FileNeeded,
    Recording,
    default_of,
    files_closed,
    parametrized_reason,
    recorded,
    reopen_all,
)
from initcfg._record.recording import (
    Outcome,
    TrackedStorage,
    current_session,
    named_values,
    outcomes_of,
    raised_text,
)
from initcfg._rules import originals_come_back
from initcfg.errors import TensorError
from initcfg.values import Computed, Keep, Opaque, Value, dtype_name


def rehearsed(plan: Plan, model: nn.Module) -> Plan:
    """The plan with what the model's own code means, as far as that can be said."""
    if plan.tape is None or not plan.tape.calls:
        return plan
    with apart_from_record(model, looking=False), paused_collector() as collects:
        return _rehearsed(plan, model, collects)


def _rehearsed(plan: Plan, model: nn.Module, collects: bool) -> Plan:
    names = named_tensors(model)
    entries = list(names.entries.values())
    # What the code writes into buffers is to be in the plan where it will not run on the model itself, or the
    # model's buffers have no numbers yet.
    with_buffers = any(entry.tensor.is_meta or is_sharded(entry.tensor) for entry in entries)
    unwritten = {
        each.name for each in entries if not each.buffer and _is_unwritten(each.tensor, plan[each.name])
    }
    before = make_up_of(names)
    try:
        with (
            recorded(model, names=names) as recording,
            contextlib.closing(PlannedCheckpoints(plan.loads)) as checkpoints,
        ):
            # As when the plan is applied, code may call a pending model.
            reopen_all(model)
            filler = RecordingFiller(recording, checkpoints)
            # Where nothing stands in for a tensor, those are the model's still.
            seen = None if with_buffers else Seen(names, neighbors_in(names), set())
            execution = Execution(plan, model, checkpoints, filler, run_code=filler.run_code, seen=seen)
            execution.collects = collects
            with torch.no_grad(), originals_come_back(), files_closed():
                memory = recording.recorder.all_tracked(execution.entries[name].tensor for name in unwritten)
                recording.recorder.unwritten.update(memory)
                for entry in execution.names.parameters:
                    default = plan.parameters[entry.name].default
                    if default_of(entry.tensor) and default and not isinstance(default.value, Computed):
                        filler.fill(entry.tensor, default.value, entry.name, default)
                execution.run_tape()
            return _with_values(execution, filler, before, unwritten, with_buffers)
    except TensorError:
        # A tensor that cannot be moved aside: its code stays what it is.
        return plan


def _is_unwritten(parameter: torch.Tensor, item: Assignment) -> bool:
    """Whether no constructor wrote a parameter, as far as is known before the code runs."""
    default = default_of(parameter)
    return (default is not None and default.value is None) or (parameter.is_meta and item.default is None)


class RecordingFiller(Filler):
    """Fills nothing: notes what would be filled, by the stream where code looks at it."""

    def __init__(self, recording: Recording, checkpoints: PlannedCheckpoints) -> None:
        self.recorder = recording.recorder
        # Why user code could not be run, by the name of its module; and which code that is.
        self.failed: dict[str, str] = {}
        self.failed_calls: list[Call] = []
        self._recording = recording
        self._filler = StreamFiller(checkpoints, 0)
        self._sources: dict[int, tuple[Value, Write | Shadowed]] = {}
        # Memory that code wrote, with the code that did it last; and the steps of the record that are rules'.
        self._written: dict[int, tuple[TrackedStorage, Call, str]] = {}
        self._of_rules: set[int] = set()

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | Shadowed | None = None
    ) -> None:
        """Note a value, and the write or the default that it is of."""
        value = _own(value)
        if write is not None:
            self._sources[id(value)] = value, write

        def fill_now(alias: torch.Tensor) -> None:
            self._filler.fill(alias, value, name)
            self._filler.flush()

        first = len(self.recorder.log.steps)
        if not self.recorder.record_sampler(tensor, value, fill_now):
            self.recorder.make_real(tensor)
            fill_now(tensor)
        self._of_rules.update(step.index for step in self.recorder.log.steps[first:])

    def run_code(self, execution: Execution, call: Call, module: nn.Module) -> None:
        """Run user code, and note what it writes, too."""
        # In a part that code called for, the call knows its name there alone.
        name = execution.names.modules.get(id(module), call.module)
        first = len(self.recorder.log.steps)
        try:
            with (
                running(execution),
                self._recording.code(),
                torch.set_grad_enabled(execution.grad_enabled),
            ):
                self._call(execution, call, module)
                execution.take_in_changes()
        except FileNeeded as error:
            self.failed[name] = f"it loads {error}"
            self.failed_calls.append(call)
        except Exception as error:
            self.failed[name] = f"it raised {raised_text(error)} when it was tried"
            self.failed_calls.append(call)
        else:
            for step in self.recorder.log.steps[first:]:
                if step.index not in self._of_rules:
                    self._written.update((id(each), (each, call, name)) for each in step.writes)

    def _call(self, execution: Execution, call: Call, module: nn.Module) -> None:
        session = current_session()
        assert session is not None
        first = len(session.followed.raised)
        with collecting(execution.collects):
            call_user_code(call, module)
        for error in session.followed.raised[first:]:
            if isinstance(error, FileNeeded):
                # In another thread, where the code does not see it.
                raise error

    def has_failed(self, name: str) -> bool:
        """Whether code failed whose module holds the tensor of this name."""
        return any(not module or name.startswith(f"{module}.") for module in self.failed)

    def writer_of(self, tensor: torch.Tensor) -> tuple[Call, str] | None:
        """The code that wrote a tensor last, and the name of its module; None if none did."""
        tracked = self.recorder.tracked(tensor)
        found = self._written.get(id(tracked))
        return None if tracked is None or found is None else found[1:]

    def notes(self) -> list[str]:
        """Remarks on where the code's random numbers come from."""
        return self._recording.notes()

    def source_of(self, outcome: Outcome) -> Write | Shadowed | None:
        """The write or the default whose value a tensor holds, as it was written."""
        found = self._sources.get(id(outcome.sources[0])) if len(outcome.sources) == 1 else None
        return None if found is None else found[1]


def _own(value: Value) -> Value:
    """The same value as an object of its own, so that it is known again."""
    if not hasattr(value, "__dict__"):
        return replace(value)
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__)
    return made


def _with_values(
    execution: Execution,
    filler: RecordingFiller,
    before: MakeUp,
    unwritten: set[str],
    with_buffers: bool,
) -> Plan:
    """The plan, with values where it had code; ``with_buffers``: also those that only code writes.

    ``unwritten`` are the parameters that no constructor wrote; code may rename their memory.
    """
    plan, plans, parts = execution.plan, execution.account.plans, execution.account.parts
    names = named_tensors(execution.model)
    items = {**plan.parameters, **plan.buffers}
    rebuilt = {name: call for name, call in execution.rebuilt.items() if not filler.has_failed(name)}
    coded: dict[str, torch.Tensor] = {}
    for entry in dict.fromkeys(names.entries.values()):
        if entry.name in rebuilt:
            items[entry.name] = _put(items.get(entry.name), entry, rebuilt[entry.name])
            # Whatever it holds, the code has put it there.
            for tensor in entry.stored:
                filler.recorder.track_foreign(tensor)
        elif entry.buffer and with_buffers and entry.name not in items:
            code = Opaque("init_weights", Keep())
            items[entry.name] = Assignment(entry.name, entry.shape, dtype_name(entry.tensor.dtype), code)
        if entry.name in items and entry.holder is None:
            items[entry.name] = _also_by_code(items[entry.name], filler.writer_of(entry.tensor))
        if entry.name in items and isinstance(items[entry.name].value, Opaque) and entry.holder is None:
            coded[entry.name] = entry.tensor
        elif entry.name in items and isinstance(value := items[entry.name].value, Opaque):
            reason = parametrized_reason(entry)
            items[entry.name] = replace(
                items[entry.name], value=Opaque(f"{value.code}: {reason}", value.over)
            )
    outcomes = outcomes_of(filler.recorder, coded)
    values = named_values(outcomes.items())
    called_for = _called_for(parts)
    for name, outcome in outcomes.items():
        if not filler.has_failed(name):
            called = called_for.get(name, ())
            items[name] = _said(items[name], outcome, filler.source_of(outcome), values.get(name), called)
    here = {each.name: each for each in names.entries.values()}
    parameters = [
        each.name for each in names.parameters if each.name in rebuilt or each.name in plan.parameters
    ]
    # What code did that failed half-way says nothing of what it will do.
    parameters += [name for name in plan.parameters if name not in here and name not in rebuilt]
    buffers = {entry.name: items[entry.name] for entry in names.buffers if entry.name in items}
    kept = {name for name in items if isinstance(items[name].value, Keep)}
    for name in rebuilt.keys() & here.keys():
        tracked = filler.recorder.tracked(here[name].tensor)
        if tracked is None or not tracked.before or tracked in filler.recorder.unwritten:
            unwritten.add(name)
    unwritten.update(name for name, outcome in outcomes.items() if outcome.unwritten)
    idle = idle_rules(plans, filler.failed_calls)
    notes = [note for each in plans for note in each.notes]
    notes += _overwritten(plan, items)
    notes += filler.notes()
    notes += [
        f"{_joined('model', module, 'init_weights')} is run when the plan is applied, "
        f"and not before: {reason}."
        for module, reason in filler.failed.items()
    ]
    return replace(
        plan,
        parameters={name: items[name] for name in parameters},
        buffers={name: item for name, item in buffers.items() if name not in kept or name in rebuilt},
        unused=tuple(unused for unused, _ in idle.values()),
        rules={where: note for each in plans for where, note in each.rules.items()}
        | {where: note for where, (_, note) in idle.items()},
        nested=_with_parts(plan, parts, "nested"),
        uncalled=_with_parts(plan, parts, "uncalled"),
        libraries={
            **plan.libraries,
            **{_joined(at, name): library for at, part in parts for name, library in part.libraries.items()},
        },
        loads=tuple(load for each in plans for load in each.loads),
        notes=tuple(dict.fromkeys(notes)),
        aliases=plan.aliases if filler.failed else names.aliases,
        before_code={
            name: was
            for name, was in changed_make_up(before, make_up_of(names)).items()
            if not filler.has_failed(name)
        },
        uninitialized=tuple(
            name for name in parameters if name in kept and name in unwritten and items[name].elements
        ),
        partly_written=tuple(
            name
            for name in parameters
            if name in plan.partly_written or (name in outcomes and outcomes[name].partly)
        ),
    )


def _also_by_code(item: Assignment, writer: tuple[Call, str] | None) -> Assignment:
    """An assignment of a tensor that code of another module writes as well."""
    if writer is None or isinstance(item.value, Opaque):
        return item
    call, module = writer
    before = () if (write := item.write) is None else (write,)
    return altered(
        item,
        value=Opaque(call.code, item.value),
        rule=call.rule or _joined("model", module, "init_weights"),
        initializer=None,
        shadowed=(*item.shadowed, *before),
        scaling=None,
        tune={},
    )


def _with_parts(plan: Plan, parts: Sequence[tuple[str, Plan]], attribute: str) -> tuple[str, ...]:
    """Names of modules in a plan, and in those of its parts as the whole model has them, once each."""
    more = (_joined(at, name) for at, part in parts for name in getattr(part, attribute))
    return tuple(dict.fromkeys([*getattr(plan, attribute), *more]))


def _called_for(parts: Sequence[tuple[str, Plan]]) -> dict[str, tuple[Shadowed, ...]]:
    """The writes of the rules that code called for, by tensor, in their order."""
    found: dict[str, tuple[Shadowed, ...]] = {}
    for at, part in parts:
        for local, item in (*part.parameters.items(), *part.buffers.items()):
            if (write := item.write) is not None and not isinstance(item.value, Opaque):
                name = _joined(at, local)
                found[name] = (*found.get(name, ()), *item.shadowed, write)
    return found


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))


def _overwritten(plan: Plan, items: Mapping[str, Assignment]) -> list[str]:
    """Notes of methods that write over what the constructors of their libraries made."""
    notes: list[str] = []
    for _, call in plan.tape.calls if plan.tape is not None else ():
        if call.library is None:
            continue
        path = _joined("model", call.module, "init_weights")
        count = sum(item.rule == path for item in items.values())
        if count:
            notes.append(over_library(path, call.library, count))
    return notes


def _put(item: Assignment | None, entry: Entry, call: Call) -> Assignment:
    """A tensor that code has put in the place of another, or of none; what it means is not known yet."""
    shadowed = () if item is None else item.shadowed
    write = None if item is None else item.write
    if write is not None and not isinstance(write.value, Opaque):
        shadowed += (write,)
    return Assignment(
        entry.name,
        entry.shape,
        dtype_name(entry.tensor.dtype),
        Opaque(call.code, Keep()),
        rule=call.rule or ".".join(filter(None, ("model", call.module, "init_weights"))),
        shadowed=shadowed,
        frozen=not entry.buffer and not entry.tensor.requires_grad,
    )


def _said(
    item: Assignment,
    outcome: Outcome,
    source: Write | Shadowed | None,
    value: Value | None,
    called: Sequence[Shadowed],
) -> Assignment:
    """What a tensor gets that the plan left to the code, which ``called`` for rules that reached it."""
    opaque = item.value
    assert isinstance(opaque, Opaque)
    if called:
        known = {each.rule for each in item.shadowed}
        also = (each for each in called if each.rule not in known)
        item = altered(item, shadowed=(*item.shadowed, *also))
    if isinstance(source, Write) and not source.default:
        # A rule, of the plan or one that the code called for.
        before = tuple(each for each in item.shadowed if each.rule != source.rule)
        return altered(
            item,
            value=source.value,
            rule=source.rule,
            initializer=source.initializer,
            shadowed=before,
            scaling=source.scaling,
            tune=source.tune,
        )
    if outcome.unwritten:
        return altered(item, value=Keep(), rule=None, initializer=None, shadowed=(), default=None)
    if source is not None or not outcome.written:
        # The code leaves alone what was there, perhaps under another name.
        default = item.default if source is None else Shadowed(source.rule, source.value, source.initializer)
        value = Keep() if default is None else default.value
        return altered(item, value=value, rule=None, initializer=None, shadowed=(), default=default)
    if value is None:
        assert outcome.reason is not None, "what was written has a value, or a reason why it has none"
        return altered(item, value=Opaque(f"{opaque.code}: {outcome.reason}", opaque.over))
    return altered(item, value=value, initializer=outcome.call)
