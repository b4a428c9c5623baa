"""The rehearsal: a model's own ``init_weights`` runs while planning, and nothing of it stays.

The tape is run over a shadow of the model with every write recorded: the rules', and those of the code
between them. What the code means then stands in the plan as values, in place of "whatever it does".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from initcfg._apply.run import Run
from initcfg._apply.user_code import run_user_code
from initcfg._model import Entry, is_sharded, named_tensors, running
from initcfg._plan import Assignment, Call, Load, Plan, Write
from initcfg._record import FileNeeded, Recording, default_of, files_closed, recorded
from initcfg._record.recording import Outcome, named_values, outcomes_of
from initcfg._stream.writing import fill_stream
from initcfg.errors import TensorError
from initcfg.values import Computed, FromCheckpoint, Keep, Opaque, Value, dtype_name


def rehearsed(plan: Plan, model: nn.Module) -> Plan:
    """The plan with what the model's own code means, as far as that can be said."""
    if plan.tape is None or not plan.tape.calls:
        return plan
    entries = list(named_tensors(model).entries.values())
    elsewhere = any(entry.tensor.is_meta or is_sharded(entry.tensor) for entry in entries)
    lost = {
        entry.name
        for entry in entries
        if entry.tensor.is_meta and not entry.buffer and plan.parameters[entry.name].default is None
    }
    try:
        with recorded(model) as recording:
            run = _Rehearsal(plan, model, recording, buffers_count=elsewhere, lost=lost)
            run.execute()
            return run.result()
    except TensorError:
        # A tensor that cannot be moved aside: its code stays what it is.
        return plan


class _Rehearsal(Run):
    """A run over a shadow, which records.

    Args:
        plan: The plan.
        model: The model, in the shadow.
        recording: Records.
        buffers_count: Whether what the code writes into buffers is to be in the plan: where the code will not
            run on the model itself, or the model's buffers have no numbers yet.
        lost: Parameters that nobody wrote, as far as is known before the code runs.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        recording: Recording,
        *,
        buffers_count: bool,
        lost: Iterable[str],
    ) -> None:
        super().__init__(plan, model, "stream", checked=False)
        self._buffers_count = buffers_count
        self._recording = recording
        self._recorder = recording.recorder
        self._ruled: dict[int, tuple[Value, Write | None]] = {}
        self._current: Write | None = None
        self._rules = dict(plan.rules)
        self._part_loads: list[Load] = []
        self._failed: dict[str, str] = {}
        self._without_writer = {
            entry.name
            for entry in self.names.parameters
            if (default := default_of(entry.tensor)) is not None and default.value is None
        }.union(lost)

    def execute(self) -> None:
        """Run the tape."""
        from initcfg._rules import originals_come_back

        with torch.no_grad(), originals_come_back(), files_closed():
            for entry in self.names.parameters:
                default = default_of(entry.tensor)
                value = None if default is None else self.plan.parameters[entry.name].default
                if value is not None and not isinstance(value.value, Computed):
                    self._fill(entry.tensor, value.value, entry.name)
            self.run_tape(self.plan, self.model)

    def run_part(self, plan: Plan, model: nn.Module) -> None:
        """A plan that user code called for."""
        self._rules |= plan.rules
        self._part_loads += plan.loads
        super().run_part(plan, model)

    def _write(self, write: Write, entries: dict[str, Entry]) -> None:
        self._current = write
        super()._write(write, entries)
        self._current = None

    def _fill(self, tensor: torch.Tensor, value: Value, name: str) -> None:
        # Of its own, so that it is known again.
        value = replace(value)
        self._ruled[id(value)] = value, self._current

        def fill(alias: torch.Tensor) -> None:
            if isinstance(value, FromCheckpoint):
                self._sources.load(alias, value, self._normal(name))
            else:
                fill_stream(alias, value, seed=0, name=name)

        if not self._recorder.record_sampler(tensor, value, fill):
            self._recorder.make_real(tensor)
            fill(tensor)

    def _call(self, call: Call, module: nn.Module) -> None:
        if call.foreign is None and bool(getattr(module, "is_init", False)):
            return
        try:
            with running(self), self._recording.code(), torch.set_grad_enabled(self._grad):
                run_user_code(call, module)
        except FileNeeded as error:
            self._failed[call.module] = f"it loads {error}"
        except Exception as error:
            self._failed[call.module] = f"it raised {type(error).__name__} when it was tried"

    # -- the plan --------------------------------------------------------------------------------

    def result(self) -> Plan:
        """The plan, with values where it had code."""
        names = named_tensors(self.model)
        items = {**self.plan.parameters, **self.plan.buffers}
        coded: dict[str, torch.Tensor] = {}
        for entry in dict.fromkeys(names.entries.values()):
            item = items.get(entry.name)
            if item is None and entry.buffer and self._buffers_count:
                items[entry.name] = item = _of_code(entry)
            if item is not None and isinstance(item.value, Opaque) and entry.holder is None:
                coded[entry.name] = entry.tensor
        outcomes = outcomes_of(self._recorder, coded)
        values = named_values(outcomes.items())
        made = {
            name: self._said(items[name], outcome, values.get(name))
            for name, outcome in outcomes.items()
            if not self._is_failed(name)
        }
        buffers = {entry.name: items[entry.name] for entry in names.buffers if entry.name in items}
        return replace(
            self.plan,
            parameters={name: made.get(name, item) for name, item in self.plan.parameters.items()},
            buffers={
                name: made.get(name, item)
                for name, item in buffers.items()
                if not isinstance(made.get(name, item).value, Keep)
            },
            rules=self._rules,
            loads=(*self.plan.loads, *self._part_loads),
            notes=(*self.plan.notes, *self._notes()),
            uninitialized=tuple(
                name
                for name in self.plan.parameters
                if self._unwritten(name)
                and isinstance(made.get(name, self.plan.parameters[name]).value, Keep)
            ),
        )

    def _unwritten(self, name: str) -> bool:
        """Whether no constructor wrote a parameter."""
        return name in self._without_writer

    def _said(self, item: Assignment, outcome: Outcome, value: Value | None) -> Assignment:
        ruled = self._ruled.get(id(outcome.sources[0])) if len(outcome.sources) == 1 else None
        if ruled is not None and ruled[1] is not None and not ruled[1].default:
            # A rule, of the plan or one that the code called for.
            write = ruled[1]
            before = tuple(each for each in item.shadowed if each.rule != write.rule)
            return replace(
                item, value=write.value, rule=write.rule, initializer=write.initializer, shadowed=before
            )
        if not outcome.written or ruled is not None:
            # The code leaves alone what was there.
            value = Keep() if item.default is None else item.default.value
            return replace(item, value=value, rule=None, initializer=None, shadowed=())
        if outcome.value is None:
            return replace(item, value=Opaque(f"{_code(item)}: {outcome.reason}", _over(item)))
        assert value is not None
        layer = outcome.layer
        return replace(item, value=value, initializer=None if layer is None else layer.call)

    def _is_failed(self, name: str) -> bool:
        return any(not module or name.startswith(f"{module}.") for module in self._failed)

    def _notes(self) -> list[str]:
        return [
            f"{'.'.join(filter(None, ('model', module, 'init_weights')))} is run when the plan is applied, "
            f"and not before: {reason}."
            for module, reason in self._failed.items()
        ]


def _of_code(entry: Entry) -> Assignment:
    dtype = dtype_name(entry.tensor.dtype)
    return Assignment(entry.name, entry.shape, dtype, Opaque("init_weights", Keep()))


def _code(item: Assignment) -> str:
    assert isinstance(item.value, Opaque)
    return item.value.code


def _over(item: Assignment) -> Value:
    assert isinstance(item.value, Opaque)
    return item.value.over
