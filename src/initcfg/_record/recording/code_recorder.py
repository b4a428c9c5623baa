"""A model's own ``init_weights`` under the stream: what it writes is recorded, and becomes values.

What it fills with something that has a name comes from the stream like everything else, and each tensor
is written once, at the end. What it reads is there when it reads it; what has no name is done as it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import NamedTuple

import torch

from initcfg._model import storage_of
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.outcome import Outcome, named_values, outcomes_of
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import TrackedStorage
from initcfg.values import Formula, Value


class WaitingWrite(NamedTuple):
    """A tensor, what it is to hold, and its canonical name."""

    tensor: torch.Tensor
    value: Value
    name: str


class _Met(NamedTuple):
    """A tensor that the code touched, its canonical name, and what was to be written there before."""

    tensor: torch.Tensor
    name: str
    tracked: TrackedStorage
    layers: list[Layer]

    @property
    def moved(self) -> bool:
        """Whether it has other memory by now."""
        return self.tracked.storage is None or self.tracked.storage._cdata != storage_of(self.tensor)


Lookup = Callable[[int], "tuple[torch.Tensor, str, WaitingWrite | None] | None"]


class CodeRecorder(Recorder):
    """Records writes on tensors that were there before.

    ``lookup`` finds of a storage the tensor, its name, and the write that it waits for, or None if it is not
    to be recorded; ``fill`` does a planned write, into another tensor on the same memory.
    """

    def __init__(self, lookup: Lookup, fill: Callable[[torch.Tensor, WaitingWrite], None]) -> None:
        super().__init__()
        # The plan says it.
        self.asks_for_unwritten = False
        self._lookup = lookup
        self._do_write = fill
        self._asked: set[int] = set()
        self._met: list[_Met] = []
        self._gone: set[int] = set()
        # By storage: the name that the code has given it.
        self._new_names: dict[int, str] = {}

    def tracked(self, tensor: torch.Tensor) -> TrackedStorage | None:
        """The storage of a tensor; a known one is taken in when it is first met."""
        tracked = super().tracked(tensor)
        if tracked is not None or self._passing:
            return tracked
        storage = storage_of(tensor)
        if storage == 0 or storage in self._asked:
            return None
        self._asked.add(storage)
        found = self._lookup(storage)
        if found is None:
            return None
        known, name, planned = found
        tracked = self._storages[storage] = TrackedStorage(
            known.untyped_storage(), region_of(known), before=True
        )
        if planned is not None:
            self.plan(planned)
        self._met.append(_Met(known, name, tracked, list(tracked.layers)))
        return tracked

    def has(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor was met, so that writes on it are in order with the code's."""
        return storage_of(tensor) in self._storages

    def plan(self, planned: WaitingWrite) -> None:
        """Note a write as if the code did it."""
        tensor = planned.tensor

        def write(alias: torch.Tensor) -> None:
            name = self._new_names.get(storage_of(tensor), planned.name)
            self._do_write(alias, planned._replace(name=name))

        self._new_names.pop(storage_of(tensor), None)
        # What begins with what the tensor holds goes on from that.
        if _goes_on(planned.value) or not self.record_sampler(tensor, planned.value, write):
            self.make_real(tensor)
            write(tensor)

    def take_in(self, new: Iterable[tuple[str, torch.Tensor]], gone: Set[int]) -> None:
        """The code has put tensors, or memory, of its own into the model, and taken some storages away."""
        # Of these the record holds the memory, so that their addresses stay theirs.
        self._gone.update(self._storages.keys() & gone)
        self._met = [each for each in self._met if storage_of(each.tensor) not in gone and not each.moved]
        for name, tensor in new:
            storage = storage_of(tensor)
            self._asked.discard(storage)
            self._gone.discard(storage)
            if (tracked := self._storages.get(storage)) is not None:
                # Memory may have been there under another name; numbers come by the one that it has.
                self._new_names[storage] = name
                self._met = [each for each in self._met if each.tracked is not tracked]
                self._met.append(_Met(tensor, name, tracked, []))

    def finish(self) -> tuple[list[WaitingWrite], dict[str, Value]]:
        """Make real what is not a value; the writes still to do, and of their values those the code means."""
        met = {
            each.name: each
            for each in self._met
            if not each.moved
            and (each.tracked.pending or self._is_plain(each))
            and all(region_of(each.tensor).covers(layer.region) for layer in each.tracked.layers)
        }
        meant = left = self._outcomes(met)
        while True:
            for name in self._drawn_elsewhere({name: met[name].tracked for name in left}):
                del left[name]
            to_write = {id(met[name].tracked) for name in left}
            self.compute([each for each in self.unfinished() if id(each) not in to_write and each.pending])
            if not self._settle(met[name].tracked for name, each in left.items() if _goes_on(each.value)):
                break
            # Some of it is done: what is left begins with what these tensors hold now.
            left = self._outcomes({name: met[name] for name in left})
        values = named_values(left.items())
        waiting = [
            WaitingWrite(met[name].tensor.detach(), value, name)
            for name, value in values.items()
            if met[name].tracked.pending
        ]
        if left is not meant:
            values = _whole_values(meant, left, values)
        changed = (name for name in values if met[name].tracked.layers != met[name].layers)
        return waiting, {name: values[name] for name in changed}

    def _outcomes(self, met: dict[str, _Met]) -> dict[str, Outcome]:
        """Of these tensors, those of which can be said what they are to hold."""
        found = outcomes_of(self, {name: each.tensor for name, each in met.items()})
        return {name: outcome for name, outcome in found.items() if outcome.value is not None}

    @staticmethod
    def _settle(storages: Iterable[TrackedStorage]) -> bool:
        """Note how much is done of what goes on from what it holds; whether that is more than was noted."""
        more = False
        for each in storages:
            done = max((step.index + 1 for step in each.writers if step.done), default=0)
            if each.pending and done > each.settled:
                each.settled, more = done, True
        return more

    def _is_plain(self, met: _Met) -> bool:
        """Whether it came with what it holds, and nothing random is in that."""
        return not (met.layers or met.tracked.before or self.is_random(met.tensor))

    def _drawn_elsewhere(self, storages: dict[str, TrackedStorage]) -> set[str]:
        """Of these tensors, those that share draws with one that has to be made real: all would be equal."""
        steps = {name: {step.index for step in self.log.sliced(each)} for name, each in storages.items()}
        drawn: set[str] = set()
        while True:
            left = {id(each) for name, each in storages.items() if name not in drawn}
            real = [
                each
                for key, each in self._storages.items()
                if key not in self._gone and not each.abandoned and each.pending and id(each) not in left
            ]
            done = [*self.log.due(real), *(step for each in real for step in self.log.sliced(each))]
            due = {step.index for step in done if step.random}
            more = {name for name in steps if name not in drawn and steps[name] & due}
            if not more:
                return drawn
            drawn |= more


def _goes_on(value: Value | None) -> bool:
    """Whether a value begins with what its tensor holds."""
    return isinstance(value, Formula) and value.begins_with_itself


def _whole_values(
    meant: dict[str, Outcome], left: dict[str, Outcome], values: dict[str, Value]
) -> dict[str, Value]:
    """The values with what was done before they were written, where the numbers are drawn alike."""
    whole = named_values((name, meant[name]) for name in left)
    found: dict[str, Value] = {}
    for name, value in values.items():
        if not _goes_on(value):
            found[name] = value
        elif meant[name].leaves == left[name].leaves:
            found[name] = whole[name]
    return found
