"""One carrying out of one plan: its writes in their order, the user's code between them, the account.

Everything that can be foreseen is checked before the first byte is written. Then the tape runs: each tensor
is written once, unless user code must find an earlier value in it; under ``rng="torch"`` the shadowed draws
go into scratch, since each of them moves the generator.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from initcfg._apply.checks import check_fits
from initcfg._apply.loading import Sources
from initcfg._apply.user_code import modules_by_name, reset_is_init, run_user_code, set_is_init
from initcfg._apply.waiting import Later
from initcfg._model import Entry, Observer, is_sharded, local_blocks, named_tensors, names_by_storage, running
from initcfg._plan import Assignment, Call, Ledger, Load, Loaded, Plan, Recorded, Write, Written, writes_of
from initcfg._record import (
    Default,
    close_pending,
    default_of,
    forget_defaults,
    recall_defaults,
    set_default,
    unset_default,
)
from initcfg._rules import originals_come_back
from initcfg._stream.bits import STREAM_VERSION
from initcfg._stream.writing import Draw, StreamWriter, fill_stream, fill_torch, seeded
from initcfg.errors import ApplyError, InitcfgError
from initcfg.values import Computed, FromCheckpoint, Keep, Normal, Opaque, Value, dtype_name


class Run:
    """One carrying out of one plan.

    Args:
        plan: The plan.
        model: The model.
        rng: ``"stream"`` or ``"torch"``.
        checked: Whether to check that the plan can be carried out.

    Raises:
        ApplyError: The model does not fit.
    """

    def __init__(self, plan: Plan, model: nn.Module, rng: str, *, checked: bool = True) -> None:
        self.plan = plan
        self.model = model
        self.rng = rng
        self.seed: int | None = None
        self.writer: StreamWriter | None = None
        recall_defaults(model)
        self.names = named_tensors(model)
        self.entries: dict[str, Entry] = {entry.name: entry for entry in self.names.entries.values()}
        self.written: list[str] = []
        # On shards the model's own code cannot run; the plan has what it means.
        self._values_only = any(is_sharded(entry.tensor) for entry in self.entries.values())
        self._grad = torch.is_grad_enabled()
        self._done: dict[str, Written] = {}
        self._assigned: list[str] = []
        self._observer: Observer | None = None
        self._storages: dict[int, list[str]] | None = None
        self._later: Later | None = None
        self._settled: list[tuple[torch.Tensor, Default]] = []
        self._sources = Sources(plan.loads)
        self._loads: list[Load] = []
        self._loaded: dict[str, Loaded] = {}
        if checked:
            check_fits(plan, self.names, rng)
            self._sources.check(plan, self.entries)

    @property
    def compat(self) -> bool:
        """Whether the plan reaches exactly what the original reaches."""
        return self.plan.compat is not None

    # -- execution -------------------------------------------------------------------------------

    def execute(self) -> None:
        """Run the tape."""
        reset_is_init(self.model)
        runs_code = bool(self.plan.tape and self.plan.tape.calls) and not self._values_only
        with torch.no_grad(), originals_come_back() if runs_code else contextlib.nullcontext():
            if self.rng == "torch" and self.plan.record is not None:
                self._replay_record(self.plan.record)
                return
            if self.rng == "torch":
                self._replay()
            elif runs_code:
                self._later = self._new_later()
            self.run_tape(self.plan, self.model)
            self._finish_later()
            self._flush()
            if self.plan.record is not None:
                self._run_opaque(self.plan.record)
            for entry in self.names.parameters:
                self._settle(entry.tensor)

    def _flush(self) -> None:
        if self.writer is not None:
            self.writer.flush()

    def _new_later(self) -> Later:
        stored = [(entry.name, tensor) for entry in self._model_entries() for tensor in entry.stored]
        return Later(stored, self._fill_now, self._default_of)

    def _finish_later(self) -> None:
        for tensor, value, name in () if self._later is None else self._later.take():
            self._fill(tensor, value, name)
            self.written.append(name)

    def _replay(self) -> None:
        """Under torch's generator, what the constructors meant is done as they would have done it."""
        for entry in self.names.parameters:
            default = default_of(entry.tensor)
            if default is None:
                continue
            default.replay()
            self._settle(entry.tensor)
            written = self.plan.parameters[entry.name].default
            if written is not None and not isinstance(written.value, Computed):
                self.written.append(entry.name)
                dtype = dtype_name(entry.tensor.dtype)
                self._done[entry.name] = Written(
                    entry.name,
                    entry.shape,
                    dtype,
                    "default",
                    written.value,
                    written.rule,
                    written.initializer,
                )

    def _replay_record(self, record: Recorded) -> None:
        """A traced plan under torch's generator: what the code did, in its order."""
        for entry in self.names.parameters:
            self._settle(entry.tensor)
        self.written += record.replay(self.entries)
        for name in self.written:
            if name in self.plan.parameters or name in self.plan.buffers:
                self._note_traced(self.plan[name])

    def _run_opaque(self, record: Recorded) -> None:
        """What a traced plan cannot say is done by the code itself."""
        items = [*self.plan.parameters.values(), *self.plan.buffers.values()]
        opaque = [item for item in items if isinstance(item.value, Opaque)]
        if opaque and self.seed is not None:
            names = [item.name for item in opaque]
            record.opaque(names, self.entries, self.seed)
            self.written += names
            for item in opaque:
                self._note_traced(item)

    def _note_traced(self, item: Assignment) -> None:
        code = item.value.code if isinstance(item.value, Opaque) else None
        self._done[item.name] = Written(
            item.name,
            item.shape,
            item.dtype,
            "rule" if code is None else "code",
            item.value if code is None else Keep(),
            item.rule,
            item.initializer,
            code,
        )

    def _settle(self, tensor: torch.Tensor) -> None:
        default = default_of(tensor)
        if default is not None:
            self._settled.append((tensor, default))
            unset_default(tensor)

    def back_to_pending(self) -> None:
        """After an error: what was pending is pending again."""
        for tensor, default in self._settled:
            set_default(tensor, default)
        self._settled.clear()
        for module in self.model.modules():
            close_pending(module)

    def forget_pending(self) -> None:
        """All is written: nothing waits any more."""
        forget_defaults(self.model)

    def close(self) -> None:
        """Let go of the checkpoints."""
        self._sources.close()

    def run_tape(self, plan: Plan, model: nn.Module) -> None:
        """Run the tape of this plan, or of a part that user code called for."""
        self._loads += plan.loads
        if plan is self.plan:
            self._run_items(plan, model, self.entries)
            return
        entries = {entry.name: entry for entry in named_tensors(model).entries.values()}
        outer, self._sources = self._sources, Sources(plan.loads)
        try:
            self._sources.check(plan, entries)
            self._run_items(plan, model, entries)
        finally:
            self._sources.close()
            self._sources = outer

    def _run_items(self, plan: Plan, model: nn.Module, entries: dict[str, Entry]) -> None:
        modules = None
        for item in self._in_good_order(self._unrolled(plan)):
            if isinstance(item, Write):
                self._write(item, entries)
            else:
                modules = modules_by_name(model) if modules is None else modules
                self._call(item, modules[item.module])
        if plan.reached:
            modules = modules_by_name(model) if modules is None else modules
            for name in plan.reached:
                set_is_init(modules[name])

    def _in_good_order(self, items: list[Write | Call]) -> list[Write | Call]:
        """The largest loads first, where order means nothing: beside a model that is empty still."""
        if self.rng == "torch" or any(isinstance(item, Call) for item in items):
            return items
        return sorted(items, key=_negative_size)

    def _unrolled(self, plan: Plan) -> list[Write | Call]:
        if plan.tape is None or self._values_only:
            items = [*plan.parameters.values(), *plan.buffers.values()]
            return writes_of(item for item in items if plan.record is None or item.value.kind != "Opaque")
        return plan.tape.unroll(draws=self.rng == "torch")

    def _write(self, write: Write, entries: dict[str, Entry]) -> None:
        if not write.final or write.name is None:
            if self.rng == "torch" and not isinstance(write.value, FromCheckpoint):
                like = None if write.name is None else entries[write.name].tensor
                scratch = (
                    torch.empty_like(like)
                    if like is not None and tuple(like.shape) == write.shape
                    else torch.empty(write.shape, dtype=getattr(torch, write.dtype))
                )
                fill_torch(scratch, write.value)
            return
        entry = entries[write.name]
        altered = False
        name = self._name_in_model(entry, write.name)
        # A checkpoint holds what is stored; every other value is what the layer sees.
        if entry.holder is not None and not isinstance(write.value, FromCheckpoint):
            altered = self._write_seen(entry, write.value, name)
            self.written.append(name)
        elif self._later is None or not self._later.put(entry.tensor, write.value, name):
            self._fill(entry.tensor, write.value, name)
            self.written.append(name)
        self._settle(entry.tensor)
        self._assigned.append(name)
        self._note_write(write, entry, name, altered)

    def _note_write(self, write: Write, entry: Entry, name: str, altered: bool = False) -> None:
        self._done[name] = Written(
            name,
            entry.shape,
            write.dtype,
            "default" if write.default else "rule",
            write.value,
            write.rule,
            write.initializer,
            altered=altered,
            loaded=self._loaded.get(name) if isinstance(write.value, FromCheckpoint) else None,
        )

    def _write_seen(self, entry: Entry, value: Value, name: str) -> bool:
        """Write a parametrized weight as the layer sees it; whether the layer then sees another."""
        assert entry.holder is not None
        module, attribute = entry.holder
        whole = torch.empty(entry.shape, dtype=entry.tensor.dtype, device=entry.tensor.device)
        self._fill(whole, value, name)
        self._flush()
        setattr(module, attribute, whole)
        return not torch.allclose(getattr(module, attribute), whole, rtol=1e-2, atol=1e-6)

    def _name_in_model(self, entry: Entry, local: str) -> str:
        """In a part that user code called for, names are local; the stream goes by the whole model's."""
        found = self.names.entries.get(id(entry.tensor))
        if found is None:
            # The code replaced a parameter by a new one.
            self.names = named_tensors(self.model)
            self.entries = {each.name: each for each in self.names.entries.values()}
            self._storages = None
            found = self.names.entries.get(id(entry.tensor))
        return local if found is None else found.name

    def _fill(self, tensor: torch.Tensor, value: Value, name: str) -> None:
        if isinstance(value, FromCheckpoint):
            self._loaded[name] = self._sources.load(tensor, value, self._normal(name))
        elif self.rng == "torch":
            fill_torch(tensor, value)
        else:
            assert self.writer is not None
            if is_sharded(tensor):
                for piece, block in local_blocks(tensor):
                    self.writer.add(piece, value, name, block=block)
                torch.autograd.graph.increment_version(tensor)
                return
            self.writer.add(tensor, value, name)

    def _fill_now(self, tensor: torch.Tensor, value: Value, name: str) -> None:
        self._fill(tensor, value, name)
        self._flush()

    def _default_of(self, tensor: torch.Tensor) -> Value | None:
        """User code touches a tensor whose rule comes later: it finds what its constructor meant."""
        entry = self.names.entries.get(id(tensor))
        default = None if entry is None else self.plan.parameters[entry.name].default
        self._settle(tensor)
        return None if default is None or isinstance(default.value, Computed) else default.value

    def _normal(self, name: str) -> Draw:
        """Normal numbers for the new rows of a tensor: under the stream, by its name."""
        if self.rng == "torch":
            return torch.randn

        def draw(shape: tuple[int, ...]) -> torch.Tensor:
            made = torch.empty(shape)
            fill_stream(made, Normal(0.0, 1.0), seed=self.seed or 0, name=name)
            return made

        return draw

    # -- user code -------------------------------------------------------------------------------

    def _call(self, call: Call, module: nn.Module) -> None:
        if call.foreign is None and bool(getattr(module, "is_init", False)):
            return
        self._flush()
        if self._storages is None:
            self._storages = names_by_storage(
                (entry.name, tensor) for entry in self._model_entries() for tensor in entry.stored
            )
        outer = self._observer
        observer = self._observer = Observer(self._storages)
        meant: dict[str, Value] = {}
        where = f"{call.code} of {call.module or 'the model'}"
        try:
            with (
                running(self),
                self._user_generator(call.module),
                self._recorded(meant),
                torch.set_grad_enabled(self._grad),
                observer,
            ):
                run_user_code(call, module)
        except InitcfgError:
            raise
        except Exception as error:
            raise ApplyError(
                f"{where} raised {type(error).__name__}: {error}",
                where=call.rule,
                fix="This is the model's own code; the traceback above shows where.",
            ) from error
        finally:
            self._observer = outer
        self._note_written(observer, call)
        for name, value in meant.items():
            done = self._done.get(name)
            if done is not None and done.by == "code":
                self._done[name] = replace(done, value=value)

    def _recorded(self, meant: dict[str, Value]) -> contextlib.AbstractContextManager[None]:
        if self._later is None:
            return contextlib.nullcontext()
        return self._later.recorded(self._note_sampler, meant)

    def _note_sampler(self, tensor: torch.Tensor, function: str) -> None:
        if self._observer is not None:
            self._observer.note(tensor, function)

    def _model_entries(self) -> Iterator[Entry]:
        yield from self.names.parameters
        yield from self.names.buffers

    def _note_written(self, observer: Observer, call: Call) -> None:
        for name, operations in observer.operations.items():
            before, entry = self._done.get(name), self.entries.get(name)
            if entry is None:
                # The code took the parameter away again.
                continue
            self.written.append(name)
            self._done[name] = Written(
                name,
                entry.shape,
                dtype_name(entry.tensor.dtype),
                "code",
                Keep() if before is None else before.value,
                None if before is None else before.rule,
                None if before is None else before.initializer,
                call.code,
                tuple(operations),
            )

    def _user_generator(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Under the stream, user code draws from a generator seeded by the module's name."""
        if self.rng == "torch" or self.seed is None:
            return contextlib.nullcontext()
        return seeded(self.seed, name)

    def run_part(self, plan: Plan, model: nn.Module) -> None:
        """A plan that user code called for: its writes are the rules', not the code's."""
        observer = self._observer
        start = len(self._assigned)
        if observer is not None:
            observer.paused += 1
        try:
            with torch.no_grad():
                self.run_tape(plan, model)
                self._flush()
        finally:
            if observer is not None:
                observer.paused -= 1
        if observer is not None:
            # What the code wrote before is overwritten now.
            for name in self._assigned[start:]:
                observer.operations.pop(name, None)

    def part_name(self, module: nn.Module) -> str:
        """Path of a module, for the rules found in it."""
        return ".".join(filter(None, ("model", self.names.modules.get(id(module), ""))))

    # -- the account -----------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """What was done."""
        from initcfg._version import versions

        entries: dict[str, Written] = {}
        for entry in self._model_entries():
            done = self._done.get(entry.name)
            if done is None:
                if entry.buffer:
                    continue
                dtype = dtype_name(entry.tensor.dtype)
                done = Written(entry.name, entry.shape, dtype)
            entries[entry.name] = done
        return Ledger(
            entries=entries,
            rng=self.rng,
            seed=self.seed,
            stream_version=STREAM_VERSION if self.rng == "stream" else None,
            plan_digest=self.plan.digest,
            aliases=dict(self.plan.aliases),
            versions=versions(),
            loads=tuple(dict.fromkeys(self._loads)),
        )


def _negative_size(item: Write | Call) -> int:
    loads = isinstance(item, Write) and isinstance(item.value, FromCheckpoint)
    return -math.prod(item.shape) if isinstance(item, Write) and loads else 0
