"""The account: what each tensor of a model got while a plan was carried out, and from whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from initcfg._apply.kept_buffers import kept_buffers
from initcfg._model import Entry, Names
from initcfg._plan import Assignment, Call, LateDict, Ledger, Plan, Shadowed, Write, Writer, Written, altered
from initcfg._stream.bits import STREAM_VERSION
from initcfg._version import versions
from initcfg.values import Keep, Opaque, Value, dtype_name

Source = Write | Shadowed | Assignment | Written
"""What has a value, and says which rule or constructor it is of."""


class Account:
    """What was written so far, by canonical name."""

    def __init__(self, plan: Plan) -> None:
        # With those of parts that user code called for.
        self.plans = [plan]
        # Those parts, each with the name of its module.
        self.parts: list[tuple[str, Plan]] = []
        self._written: dict[str, Written] = {}
        # Of these some have the name of a tensor that is like them, until somebody asks.
        self._unnamed: list[str] = []
        self._alike: dict[tuple[Any, ...], tuple[Source, Written]] = {}
        # How many tensors methods wrote that are of libraries which initialize in their constructors.
        self.over_library: dict[Call, int] = {}

    @property
    def written(self) -> dict[str, Written]:
        """What was written, by name."""
        for name in self._unnamed:
            self._written[name] = self._written[name].named(name)
        self._unnamed.clear()
        return self._written

    def note_together(self, entries: Sequence[Entry], names: Sequence[str], writes: Sequence[Write]) -> None:
        """Tensors were written; writes that differ in their names alone are one object."""
        # What parameters get is told as it is of the first of them; of a buffer, that it is one.
        told: list[Any] = list(map(id, writes))
        if any(entry.buffer for entry in entries):
            told = [(each, entry.buffer) for each, entry in zip(told, entries, strict=True)]
        firsts = dict(zip(told, zip(entries, writes, strict=True), strict=True))
        alike = {
            key: self._made(entry, write.name or "", "default" if write.default else "rule", write)
            for key, (entry, write) in firsts.items()
        }
        self._written.update(zip(names, map(alike.__getitem__, told), strict=True))
        self._unnamed += names

    def note(self, entry: Entry, name: str, by: Writer, source: Source, **details: Any) -> None:
        """A tensor was written with the value of this source."""
        if by == "rule" and not details:
            # By identity of what the plan keeps: tensors that are alike differ in their names alone.
            told = id(source.value), id(source.rule), id(source.initializer), id(source.tune)
            key = (*told, entry.shape, entry.tensor.dtype, entry.buffer)
            alike = self._alike.get(key)
            if alike is not None:
                self.written[name] = alike[1].named(name)
                return
            written = self.written[name] = self._made(entry, name, by, source)
            self._alike[key] = source, written
        else:
            self.written[name] = self._made(entry, name, by, source, **details)

    def _made(self, entry: Entry, name: str, by: Writer, source: Source, **details: Any) -> Written:
        told = source.value, source.rule, source.initializer
        facts = {"buffer": entry.buffer, "tune": source.tune if by == "rule" else {}, **details}
        return Written(name, entry.shape, dtype_name(entry.tensor.dtype), by, *told, **facts)

    def note_traced(self, entry: Entry, item: Assignment) -> None:
        """A tensor of a traced plan was written, by the code itself where no value says it."""
        if isinstance(item.value, Opaque):
            self.note(entry, item.name, "code", replace(item, value=Keep()), code=item.value.code)
        else:
            self.note(entry, item.name, "rule", item)

    def note_put(self, call: Call, entry: Entry, name: str, change: str) -> None:
        """User code put a tensor, or other memory, under a name: whatever was there counts no more."""
        written = Written(name, entry.shape, dtype_name(entry.tensor.dtype), "code", buffer=entry.buffer)
        self.written[name] = replace(written, code=call.code, operations=(change,))

    def note_renamed(self, before: str, name: str) -> None:
        """User code put the memory of one tensor under another name, with whatever was written there."""
        if (written := self.written.get(before)) is not None:
            self.written[name] = replace(written, name=name)

    def forget(self, name: str) -> None:
        """User code took a tensor away."""
        self.written.pop(name, None)

    def note_code(
        self,
        call: Call,
        operations: Mapping[str, Sequence[str]],
        entries: Mapping[str, Entry],
        meant: Mapping[str, Value],
    ) -> None:
        """User code ran: its operations in place by the tensor that they wrote, and the values that it means.

        The entries are of the model as the code left it.
        """
        if call.library is not None and operations:
            self.over_library[call] = len(operations)
        for name, done in operations.items():
            entry = entries.get(name)
            if entry is None:
                # The code took the parameter away again.
                continue
            before = self.written.get(name) or Written(name, entry.shape, "")
            self.note(entry, name, "code", before, code=call.code, operations=tuple(done))
        for name, value in meant.items():
            # Of a parametrized weight, it is what is stored that has the value, and not what a layer sees.
            seen = name in entries and entries[name].holder is None
            if seen and name in self.written and self.written[name].by == "code":
                self.written[name] = altered(self.written[name], value=value, meant=True)

    def ledger(self, names: Names, *, rng: str, seed: int | None, rebuilt: bool = False) -> Ledger:
        """The ledger of the whole model; ``rebuilt``: user code has changed which tensors it has."""
        plan = self.plans[0]
        written = self._written
        entries: Mapping[str, Written] = {
            entry.name: written.get(entry.name)
            or Written(entry.name, entry.shape, dtype_name(entry.tensor.dtype))
            for entry in (*names.parameters, *names.buffers)
            if not entry.buffer or entry.name in written
        }
        if self._unnamed:
            entries = LateDict(entries)
        return Ledger(
            entries=entries,
            rng=rng,
            seed=seed,
            stream_version=STREAM_VERSION if rng == "stream" else None,
            plan_digest=plan.digest,
            # Code may have tied what the plan has apart, or the other way round.
            aliases=dict(names.aliases if rebuilt else plan.aliases),
            versions=versions(),
            loads=tuple(dict.fromkeys(load for each in self.plans for load in each.loads)),
            kept=kept_buffers(names, entries),
            unsaved=tuple(
                each.name for each in names.buffers if each.name in entries and each.name in names.unsaved
            ),
        )
