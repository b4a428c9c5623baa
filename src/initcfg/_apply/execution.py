"""A plan's tape on a model: its writes in their order, and the user's code between them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from initcfg._apply.account import Account
from initcfg._apply.filling import Filler
from initcfg._apply.overlaps import neighbors_in, same_memory
from initcfg._apply.plain_writes import queue_plain
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._apply.preconditions import Seen, check_put_by_code
from initcfg._apply.read_ahead import Read
from initcfg._apply.user_code import run_observed, set_is_init
from initcfg._model import (
    Entry,
    Names,
    Observer,
    Watch,
    changes,
    is_sharded,
    named_tensors,
    names_by_storage,
    paused_collector,
    places_of,
    renames,
    sharing_memory,
    storage_of,
)
from initcfg._plan import Call, Ledger, Loaded, Plan, Write, writes_of
from initcfg._record import Default, close_pending, default_of, set_default, unset_default
from initcfg._record.recording import ready_to_record
from initcfg.errors import ApplyError
from initcfg.values import FromCheckpoint, Originals, Value


class Execution:
    """A plan that is carried out on a model.

    Each tensor is written once, unless user code must find an earlier value in it. Where draws move a
    generator, those that no tensor shows are made too, into scratch. ``run_code`` runs a call of user code on
    its module; ``only`` are the tensors that are written, if not all: the account is of all. ``seen`` is
    what the checks have just shown of the model, if that is so still.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        checkpoints: PlannedCheckpoints,
        filler: Filler,
        *,
        run_code: Callable[[Execution, Call, nn.Module], None] | None = None,
        only: Collection[str] | None = None,
        seen: Seen | None = None,
    ) -> None:
        self.plan = plan
        self.model = model
        self.filler = filler
        self.account = Account(plan)
        self.observers: list[Observer] = []
        self.grad_enabled = torch.is_grad_enabled()
        # Whether user code runs with Python's collector, which is paused around it.
        self.collects = False
        # What user code changed of the model's own make-up: the name of a tensor, and the code.
        self.rebuilt: dict[str, Call] = {}
        self._took_in_changes = False
        self._running: list[tuple[Call, Watch]] = []
        self._by_storage: dict[int, list[str]] = {}
        self._checkpoints = checkpoints
        self._run_code = run_code or run_observed
        self._only = only
        self._settled: list[tuple[torch.Tensor, Default]] = []
        self._marked: list[nn.Module] = []
        self._find_tensors(seen)
        self._places = places_of(self.stored()) if plan.tape and plan.tape.calls else {}
        # On shards the model's own code cannot run; the plan has what it means.
        plain = nn.Parameter
        tensors = [entry.tensor for entry in self.entries.values() if type(entry.tensor) is not plain]
        self._values_only = any(map(is_sharded, tensors))

    def _find_tensors(self, seen: Seen | None = None) -> None:
        if seen is None:
            names = named_tensors(self.model)
            seen = Seen(names, neighbors_in(names), set())
        self.names, neighbors, self._plain = seen
        self.entries = self.names.by_name
        self._by_storage.clear()
        # What lies in one memory gets the numbers of one name.
        self._same_memory = same_memory(self.plan.parameters, neighbors)

    def stored(self) -> list[tuple[str, torch.Tensor]]:
        """Every tensor that the model stores, with its canonical name."""
        entries = (*self.names.parameters, *self.names.buffers)
        return [(entry.name, tensor) for entry in entries for tensor in entry.stored]

    def by_storage(self) -> Mapping[int, list[str]]:
        """The names of the tensors by the memory that holds them."""
        if not self._by_storage:
            self._by_storage.update(names_by_storage(self.stored()))
        return self._by_storage

    def _name_in_model(self, entry: Entry, local: str) -> str:
        """In a part that user code called for, names are local; the stream goes by the whole model's."""
        found = self.names.entries.get(id(entry.tensor))
        return local if found is None else found.name

    def writes(self, name: str) -> bool:
        """Whether a tensor is written, and not only accounted for."""
        return self._only is None or name in self._only

    def settle(self, tensor: torch.Tensor) -> None:
        """A tensor holds what it should, or soon will."""
        default = default_of(tensor)
        if default is not None:
            self._settled.append((tensor, default))
            unset_default(tensor)

    def settle_all(self) -> None:
        """Every parameter holds what it should, or soon will."""
        for entry in self.names.parameters:
            if entry.tensor.__dict__:
                self.settle(entry.tensor)

    def take_default(self, tensor: torch.Tensor, name: str) -> Value | None:
        """What the constructor of a pending tensor meant, for code that touches it before its rule."""
        self.settle(tensor)
        item = self.plan.parameters.get(name)
        return None if item is None or item.default is None else item.default.value

    def back_to_pending(self) -> None:
        """After an error: what was pending is pending again, and what was marked as initialized is not."""
        for module in self._marked:
            module._is_init = False  # type: ignore[assignment]
        self._marked.clear()
        for tensor, default in self._settled:
            set_default(tensor, default)
            default.replay.undone()
        self._settled.clear()
        close_pending(self.model.modules())

    @property
    def runs_code(self) -> bool:
        """Whether user code runs between the writes."""
        return bool(self.plan.tape and self.plan.tape.calls) and not self._values_only

    def run_tape(self) -> None:
        """Run the plan's tape."""
        if not self.runs_code:
            # What reads for long shares the process with others.
            with contextlib.nullcontext() if self.plan.loads else paused_collector():
                self._run(self.plan, self.model, self.names)
            return
        # It must find the memory that it knows.
        self._checkpoints.mapping.copy_all("code of the model's own runs")
        # Code may reach beyond its own module.
        self._running.append((Call("", "code of the model's own"), Watch(self.model)))
        with ready_to_record():
            self._run(self.plan, self.model, self.names)
        self.take_in_changes()
        self._running.clear()

    def _run(self, plan: Plan, model: nn.Module, names: Names) -> None:
        part = _Part(names)
        around, self.filler.original = self.filler.original, plan.compat is not None
        # Where no code runs, what the checks have shown stays so.
        plain = self._plain if not self.runs_code and self._only is None else set[int]()
        together = bool(plain) and not (plan.loads or self._values_only or self.filler.in_order)
        items: Sequence[Write | Call] = ()
        if together and plan.tape is not None:
            self._write_shown(*plan.tape.shown(), plain)
        else:
            items = self._unrolled(plan)
        if plan.loads:
            items = self._in_good_order(items)
        if plan.loads and not self.runs_code and not self.filler.recorded:
            self._checkpoints.read_ahead(self._loads_alone(items, part.entries))
        for item in items:
            if isinstance(item, Write):
                if not plain or not self._write_plain(item, plain):
                    self._write(item, part.entries)
                continue
            module = part.modules.get(item.module)
            if module is not None and (item.foreign is not None or not getattr(module, "is_init", False)):
                self.filler.flush()
                if len(self._running) == 1:
                    # What it changes beyond its module shows at the end.
                    self._running[0] = item, self._running[0][1]
                self._running.append((item, Watch(module)))
                names = self.names
                try:
                    self._run_code(self, item, module)
                finally:
                    self._running.pop()
                if self.names is not names:
                    # The code put other tensors into the model.
                    part = _Part(named_tensors(model))
        # A plan that code called for has ended; the one around it goes on.
        self.filler.original = around
        for name in plan.reached:
            module = part.modules.get(name)
            if module is not None:
                if not getattr(module, "is_init", False):
                    self._marked.append(module)
                set_is_init(module)

    def take_in_changes(self) -> None:
        """Under each name is what the code that runs innermost has put there: the story goes on with that."""
        if not self._running or not self._running[-1][1].changed():
            return
        self._took_in_changes = True
        call = self._running[-1][0]
        before, entries = self._places, self.entries
        self._find_tensors()
        self.by_storage()
        self._places = places_of(self.stored())
        found = changes(before, self._places)
        for name in entries.keys() & self.entries.keys():
            if bool(self.entries[name].holder) != bool(entries[name].holder):
                found.setdefault(name, "parametrized" if self.entries[name].holder else "new")
        renamed = renames(before, self._places, found)
        for name, change in found.items():
            self.rebuilt[name] = call
            if name in renamed:
                self.account.note_renamed(renamed[name], name)
            elif change != "gone":
                self.account.note_put(call, self.entries[name], name, change)
        for observer in self.observers:
            # What was done in memory goes with it.
            done = observer.operations
            moved = {name: done[old] for name, old in renamed.items() if old in done}
            observer.operations = {name: each for name, each in done.items() if name not in found} | moved
        for name in (name for name, change in found.items() if change == "gone"):
            self.account.forget(name)
        self.filler.tensors_changed(self.stored())
        for _, watch in self._running:
            # So that they let go of what was there.
            watch.changed()

    def _unrolled(self, plan: Plan) -> list[Write | Call]:
        if plan.tape is None or self._values_only:
            items = (*plan.parameters.values(), *plan.buffers.values())
            return writes_of(item for item in items if plan.record is None or item.value.kind != "Opaque")
        return plan.tape.unroll(draws=self.filler.in_order)

    def _in_good_order(self, items: Sequence[Write | Call]) -> Sequence[Write | Call]:
        """The largest loads first, where order means nothing: beside a model that is empty still."""
        writes = [item for item in items if isinstance(item, Write)]
        if self.filler.in_order or len(writes) < len(items):
            return items
        return sorted(writes, key=_elements_to_load, reverse=True)

    def _loads_alone(self, items: Sequence[Write | Call], entries: Mapping[str, Entry]) -> Iterator[Read]:
        """Of the writes those that load a tensor which lies in memory of its own, in any order then."""
        shared = sharing_memory(tensor for _, tensor in self.stored())
        for item in items:
            if not isinstance(item, Write) or not isinstance(item.value, FromCheckpoint) or not item.final:
                continue
            entry = entries.get(item.name or "")
            if entry is None or entry.shape != item.shape or not self.writes(entry.name):
                continue
            if storage_of(entry.tensor) in self.by_storage() and id(entry.tensor) not in shared:
                numbered = self._same_memory.get(entry.name, entry.name)
                yield Read(numbered, entry.tensor, item.value)

    def _write_shown(self, names: Sequence[str], writes: Sequence[Write], plain: Collection[int]) -> None:
        """Do the writes of these tensors, one after the other; together those such as most are."""
        entries, numbered = self.entries, self._same_memory
        for name, write in queue_plain(
            self.filler, names, writes, entries, plain, numbered, self._queued_together
        ):
            alone = write.named(name)
            if not self._write_plain(alone, plain):
                self._write(alone, entries)

    def _queued_together(
        self, entries: Sequence[Entry], names: Sequence[str], writes: Sequence[Write]
    ) -> None:
        for entry in entries if self.names.noted else ():
            if entry.tensor.__dict__:
                self.settle(entry.tensor)
        self.account.note_together(entries, names, writes)

    def _write_plain(self, write: Write, plain: Collection[int]) -> bool:
        """Do a write such as most of most models are; whether it is one of these."""
        name = write.name
        entry = self.entries.get(name or "")
        if entry is None or name is None or not write.final or entry.shape != write.shape:
            return False
        tensor = entry.tensor
        if id(tensor) not in plain or not self.filler.fill_plain(
            tensor, write.value, self._same_memory.get(name, name)
        ):
            return False
        if tensor.__dict__:
            self.settle(tensor)
        self.account.note(entry, name, "default" if write.default else "rule", write)
        return True

    def _write(self, write: Write, entries: Mapping[str, Entry]) -> None:
        if not write.final or write.name is None:
            if self.filler.in_order and not isinstance(write.value, FromCheckpoint):
                known = entries.get(write.name or "")
                like = None if known is None else known.tensor
                self.filler.fill(_scratch(write, like), write.value, write.name or "")
            return
        entry = entries.get(write.name)
        if entry is None:
            # The code took the parameter away.
            return
        if entry.shape != write.shape:
            raise ApplyError(
                f"The model's own code has given this parameter the shape {entry.shape}, and the rule that "
                f"follows was planned for {write.shape}.",
                where=write.rule,
                parameter=write.name,
                shape=entry.shape,
                fix="Give the parameter its shape in the constructor.",
            )
        name = write.name if entries is self.entries else self._name_in_model(entry, write.name)
        loaded, altered = None, False
        if self._only is None or name in self._only:
            if self._took_in_changes:
                check_put_by_code(entry)
            # A checkpoint holds what is stored; every other value is what the layer sees.
            if entry.holder is not None and not isinstance(write.value, FromCheckpoint):
                altered = self._write_seen(entry, write.value, name)
            else:
                if isinstance(write.value, Originals):
                    loaded = self._load_originals(entry, write, write.value, name)
                numbered = self._same_memory.get(name, name)
                loaded = loaded or self.filler.fill(entry.tensor, write.value, numbered, write)
        if entry.tensor.__dict__:
            self.settle(entry.tensor)
        by = "default" if write.default else "rule"
        if altered or loaded is not None:
            self.account.note(entry, name, by, write, altered=altered, loaded=loaded)
        else:
            self.account.note(entry, name, by, write)
        for observer in self.observers:
            # What the code around this wrote before is overwritten now.
            observer.overwritten(name)

    def _load_originals(self, entry: Entry, write: Write, originals: Originals, name: str) -> Loaded:
        """Load the tensors that a parametrization stores a weight as, each by itself."""
        found: list[Loaded] = []
        for value, tensor in zip(originals.values, entry.originals, strict=True):
            loaded = (
                self.filler.fill(tensor, value, name, write) if isinstance(value, FromCheckpoint) else None
            )
            found += [] if loaded is None else [loaded]
        keys = tuple(key for each in found for key in each.keys)
        how = tuple(dict.fromkeys(each.adapted for each in found if each.adapted))
        counts = [each.non_finite for each in found]
        bad = None if None in counts else sum(each or 0 for each in counts)
        facts = {"mapped": all(each.mapped for each in found), "copied": found[0].copied}
        return replace(found[0], keys=keys, adapted=", ".join(how) or None, non_finite=bad, **facts)

    def write_again(self, name: str, value: Value, computed: str) -> None:
        """Write what data made of a value, in its place; it is in memory after the next flush."""
        entry, altered = self.entries[name], False
        if entry.holder is not None:
            altered = self._write_seen(entry, value, name)
        else:
            self.filler.fill(entry.tensor, value, self._same_memory.get(name, name))
        written = replace(self.account.written[name], value=value, computed=computed, altered=altered)
        self.account.written[name] = written

    def _write_seen(self, entry: Entry, value: Value, name: str) -> bool:
        """Write a parametrized weight as the layer sees it; whether the layer then sees another."""
        assert entry.holder is not None
        module, attribute = entry.holder
        whole = torch.empty(entry.shape, dtype=entry.tensor.dtype, device=entry.tensor.device)
        self.filler.fill(whole, value, name)
        self.filler.flush()
        setattr(module, attribute, whole)
        return not torch.allclose(getattr(module, attribute), whole, rtol=1e-2, atol=1e-6, equal_nan=True)

    def note_sampler(self, tensor: torch.Tensor, function: str) -> None:
        """The user code that runs innermost called a sampler, which no dispatch mode sees."""
        self.observers[-1].note(tensor, function)

    def ledger(self, rng: str, seed: int | None) -> Ledger:
        """What was done, tensor by tensor."""
        return self.account.ledger(self.names, rng=rng, seed=seed, rebuilt=self._took_in_changes)

    @property
    def compat(self) -> bool:
        """Whether the plan reaches exactly what the original reaches."""
        return self.plan.compat is not None

    def part_name(self, module: nn.Module) -> str:
        """Path of a module, for the rules found in it."""
        return ".".join(filter(None, ("model", self.names.modules.get(id(module), ""))))

    def part_roles(self, module: nn.Module) -> Any:
        """What is known of the roles of a module's tensors in the whole model; None if nothing is."""
        name, tape = self.names.modules.get(id(module)), self.plan.tape
        return None if tape is None or tape.part_roles is None or name is None else tape.part_roles(name)

    def run_part(self, plan: Plan, model: nn.Module) -> None:
        """Carry out a plan that user code called for: its writes are the rules', not the code's."""
        self.account.plans.append(plan)
        self.take_in_changes()
        self.account.parts.append((self.names.modules.get(id(model), ""), plan))
        names = named_tensors(model)
        for observer in self.observers:
            observer.paused += 1
        try:
            with torch.no_grad(), self._checkpoints.of_part(plan, names):
                self._run(plan, model, names)
                self.filler.flush()
        finally:
            for observer in self.observers:
                observer.paused -= 1


class _Part:
    """The tensors and modules of a model, or of a part that user code called for, by their names there."""

    def __init__(self, names: Names) -> None:
        self.entries = names.by_name
        self._names = names

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Of a wrapper and what it wraps, the latter."""
        return self._names.module_of


def _scratch(write: Write, like: torch.Tensor | None) -> torch.Tensor:
    """Memory for a draw that no tensor shows."""
    if like is not None and tuple(like.shape) == write.shape:
        return torch.empty_like(like)
    return torch.empty(write.shape, dtype=getattr(torch, write.dtype), device="cpu")


def _elements_to_load(write: Write) -> int:
    # What is loaded in part stays behind the write that it lets show.
    after = isinstance(write.value, Originals) and write.value.in_part
    return math.prod(write.shape) if isinstance(write.value, FromCheckpoint) and not after else 0
