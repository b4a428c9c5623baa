"""A model's own ``init_weights`` under the stream: what it writes is recorded, and becomes values.

What it fills with something that has a name comes from the stream like everything else, and each tensor
is written once, at the end. What it reads is there when it reads it; what has no name is done as it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from initcfg._model import storage_of
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.naming import named_values
from initcfg._record.recording.outcome import Outcome, Outcomes
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import TrackedStorage
from initcfg.values import Value


class WaitingWrite(NamedTuple):
    """A tensor, what it is to hold, and its canonical name."""

    tensor: torch.Tensor
    value: Value
    name: str


class CodeResult(NamedTuple):
    """What a recording leaves behind.

    Attributes:
        waiting: Writes that are still to be done.
        meant: Values that the code means, by canonical name; they are among ``waiting``.
    """

    waiting: list[WaitingWrite]
    meant: dict[str, Value]


Lookup = Callable[[int], "tuple[torch.Tensor, str, WaitingWrite | None] | None"]


class CodeRecorder(Recorder):
    """Records writes on tensors that were there before.

    Args:
        lookup: For a storage, its tensor, name, and the write that it waits for; None if it is not to be
            recorded.
        fill: Does a planned write, into another tensor on the same memory.
    """

    def __init__(self, lookup: Lookup, fill: Callable[[torch.Tensor, WaitingWrite], None]) -> None:
        super().__init__()
        self._lookup = lookup
        self._do_write = fill
        self._asked: set[int] = set()
        self.adopted: list[tuple[torch.Tensor, str, TrackedStorage, Sequence[Layer]]] = []

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
        self.adopted.append((known, name, tracked, tuple(tracked.layers)))
        return tracked

    def has(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor was met, so that writes on it are in order with the code's."""
        return storage_of(tensor) in self._storages

    def plan(self, planned: WaitingWrite) -> None:
        """Note a write as if the code did it."""
        tensor = planned.tensor
        if not self.record_sampler(tensor, planned.value, lambda alias: self._do_write(alias, planned)):
            self._do_write(tensor, planned)

    def finish(self) -> CodeResult:
        """Make real what is no value."""
        found = Outcomes(self)
        outcomes: dict[str, tuple[WaitingWrite, TrackedStorage, Outcome, bool]] = {}
        wanted = [
            each
            for each in self.adopted
            if each[2].pending and all(region_of(each[0]).covers(layer.region) for layer in each[2].layers)
        ]
        made = found.of_all({name: tensor for tensor, name, _, _ in wanted})
        for tensor, name, tracked, before in wanted:
            outcome = made[name]
            if outcome.value is not None:
                planned = WaitingWrite(tensor, outcome.value, name)
                outcomes[name] = planned, tracked, outcome, tuple(tracked.layers) != before
        for name in self._drawn_elsewhere({name: tracked for name, (_, tracked, _, _) in outcomes.items()}):
            del outcomes[name]
        values = named_values((name, outcome) for name, (_, _, outcome, _) in outcomes.items())
        waiting: list[WaitingWrite] = []
        meant: dict[str, Value] = {}
        for name, (planned, _, _, changed) in outcomes.items():
            waiting.append(planned._replace(value=values[name]))
            if changed:
                meant[name] = values[name]
        left = {id(tracked) for _, tracked, _, _ in outcomes.values()}
        self.compute([tracked for tracked in self.in_use() if tracked.pending and id(tracked) not in left])
        return CodeResult(waiting, meant)

    def _drawn_elsewhere(self, held_by_name: dict[str, TrackedStorage]) -> set[str]:
        """Of these tensors, those that share draws with one that has to be made real: all would be equal."""
        drawn: set[str] = set()
        while True:
            left = {id(tracked) for name, tracked in held_by_name.items() if name not in drawn}
            real = [tracked for tracked in self.in_use() if tracked.pending and id(tracked) not in left]
            due = {step.index for tracked in real for step in self.log.sliced(tracked) if step.random}
            more = {
                name
                for name, tracked in held_by_name.items()
                if name not in drawn and any(step.index in due for step in self.log.sliced(tracked))
            }
            if not more:
                return drawn
            drawn |= more
