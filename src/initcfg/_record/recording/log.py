"""The log: recorded operations in their order, what must be done for a tensor, and doing all again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map_only

from initcfg._record.recording.regions import Region
from initcfg._record.recording.storage import LogStep, Operand, TrackedStorage
from initcfg._stream.writing import made_by

Place = Callable[[TrackedStorage], "torch.UntypedStorage | None"]
"""Where a storage of the record lies; None if it has no memory yet."""


class Log:
    """Recorded operations, in order.

    Attributes:
        steps: The operations, done or not.
    """

    def __init__(self) -> None:
        self.steps: list[LogStep] = []

    def add(self, step: LogStep) -> None:
        """Append an operation."""
        self.steps.append(step)
        for tracked in step.writes:
            tracked.writers.append(step)
        if not step.done:
            for tracked in (*step.writes, *step.reads):
                tracked.waiting[step.index] = step

    def due(self, wanted: Iterable[TrackedStorage]) -> list[LogStep]:
        """What must be done before these storages can be read, in order.

        An operation waits for the earlier writes of what it reads, and, since it overwrites, for the earlier
        readers of what it writes.
        """
        found: dict[int, LogStep] = {}
        todo = [step for tracked in wanted for step in tracked.waiting.values() if tracked in step.writes]
        while todo:
            step = todo.pop()
            if step.index in found:
                continue
            found[step.index] = step
            for tracked in step.writes:
                todo += [other for other in tracked.waiting.values() if other.index < step.index]
            for tracked in step.reads:
                todo += [
                    other
                    for other in tracked.waiting.values()
                    if other.index < step.index and tracked in other.writes
                ]
        return [found[index] for index in sorted(found)]

    def compute(
        self, wanted: Iterable[TrackedStorage], run: Callable[[LogStep, Place], None]
    ) -> list[LogStep]:
        """Do what must be done, in the memory that the record has."""
        due = self.due(wanted)
        for step in due:
            run(step, lambda tracked: tracked.storage)
            step.done = True
            for tracked in (*step.writes, *step.reads):
                tracked.waiting.pop(step.index, None)
        return due

    def sliced(self, tracked: TrackedStorage) -> list[LogStep]:
        """The operations that the content of a storage comes from, in order."""
        found: dict[int, LogStep] = {}
        todo: list[tuple[TrackedStorage, float]] = [(tracked, math.inf)]
        while todo:
            tracked, limit = todo.pop()
            for step in reversed(tracked.writers):
                if step.index >= limit:
                    continue
                if step.index in found:
                    break
                found[step.index] = step
                todo += [(read, step.index) for read in step.reads if read is not tracked]
                if step.overwrites:
                    break
        return [found[index] for index in sorted(found)]

    def replay(self, bound: dict[int, torch.UntypedStorage]) -> None:
        """Do every operation anew, in order.

        Args:
            bound: By ``id`` of a storage of the record: the memory that stands for it. The others get memory
                of their own while they are needed.
        """
        steps = self._needed(bound)
        last: dict[int, int] = {}
        for step in steps:
            for tracked in (*step.reads, *step.writes):
                last[id(tracked)] = step.index
        memory = dict(bound)

        def place(tracked: TrackedStorage) -> torch.UntypedStorage | None:
            found = memory.get(id(tracked))
            if found is None and tracked.data is not None:
                found = memory[id(tracked)] = tracked.data.clone().untyped_storage()
            return found

        with torch.no_grad():
            for step in steps:
                for operand, storage in run_step(step, place, make=True):
                    memory[id(operand.tracked)] = storage
                for tracked in (*step.reads, *step.writes):
                    if last[id(tracked)] == step.index and id(tracked) not in bound:
                        memory.pop(id(tracked), None)

    def _needed(self, bound: dict[int, torch.UntypedStorage]) -> list[LogStep]:
        """The operations that draw, or that something bound comes from: not what code only looked at."""
        live = set(bound)
        needed: list[LogStep] = []
        for step in reversed(self.steps):
            if not step.random and not any(id(tracked) in live for tracked in step.writes):
                continue
            needed.append(step)
            live.update(id(tracked) for tracked in (*step.reads, *step.writes))
        return needed[::-1]


def tensor_at(storage: torch.UntypedStorage, region: Region) -> torch.Tensor:
    """The tensor that lies at a region of a memory."""
    empty = torch.empty(0, dtype=region.dtype, device=storage.device)
    return empty.set_(storage, region.offset, region.sizes, region.strides)  # type: ignore[call-overload]


def run_step(
    step: LogStep, place: Place, *, make: bool = False
) -> list[tuple[Operand, torch.UntypedStorage]]:
    """Do an operation.

    Args:
        step: The operation.
        place: The memory of its operands.
        make: Give memory to what has none.

    Returns:
        The memory that was made.
    """
    made: list[tuple[Operand, torch.UntypedStorage]] = []
    fresh: dict[int, torch.UntypedStorage] = {}

    def real(operand: Operand) -> torch.Tensor:
        storage = fresh.get(id(operand.tracked)) or place(operand.tracked)
        if storage is None:
            assert make
            whole = operand.tracked.whole
            size = whole.span[1] * torch.empty(0, dtype=whole.dtype).element_size()
            storage = fresh[id(operand.tracked)] = torch.UntypedStorage(size)
            made.append((operand, storage))
        return tensor_at(storage, operand.region)

    args, kwargs = tree_map_only(Operand, real, (step.args, step.kwargs))
    result = step.func(*args, **kwargs)
    if step.outs:
        for out, tensor in zip(step.outs, made_by(step.func, result), strict=True):
            if out is not None:
                real(out).copy_(tensor)
    return made


def operands_in(items: Any) -> list[Operand]:
    """The operands in arguments."""
    return [item for item in tree_flatten(items)[0] if isinstance(item, Operand)]
