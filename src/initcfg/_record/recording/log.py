"""The log: recorded operations in their order, what must be done for a tensor, and doing all again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch.utils._pytree import tree_map_only

from initcfg._record.recording.aten import has_own_generator, is_strided
from initcfg._record.recording.leaves import leaves
from initcfg._record.recording.regions import Region
from initcfg._record.recording.storage import OWN_GENERATOR, LogStep, Operand, TrackedStorage
from initcfg._stream.writing import made_by

K = TypeVar("K")
Place = Callable[[TrackedStorage], "torch.UntypedStorage | None"]
"""Where a storage of the record lies; None if it has no memory yet."""


class Log:
    """Recorded operations in order, done or not, and whether code looked at random numbers."""

    def __init__(self) -> None:
        self.steps: list[LogStep] = []
        self.looked = False

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
        return self.due_for(
            *(step for tracked in wanted for step in tracked.waiting.values() if tracked in step.writes)
        )

    def due_for(self, *steps: LogStep) -> list[LogStep]:
        """These operations, which wait, with those that must be done before, in order."""
        found: dict[int, LogStep] = {}
        todo = list(steps)
        while todo:
            step = todo.pop()
            if step.index in found:
                continue
            found[step.index] = step
            for tracked in (*step.writes, *step.reads):
                todo += [
                    other
                    for other in tracked.waiting.values()
                    if other.index < step.index and (tracked in step.writes or tracked in other.writes)
                ]
        return [found[index] for index in sorted(found)]

    def do(self, steps: Iterable[LogStep], run: Callable[[LogStep, Place], None]) -> None:
        """Do operations that wait, in the memory that the record has."""
        for step in steps:
            run(step, lambda tracked: tracked.storage)
            step.done = True
            for tracked in (*step.writes, *step.reads):
                tracked.waiting.pop(step.index, None)

    def sliced(self, tracked: TrackedStorage) -> list[LogStep]:
        """The operations that the content of a storage comes from, in order."""
        return self._traced_back(tracked)[0]

    def beginnings(self, tracked: TrackedStorage) -> list[TrackedStorage]:
        """The storages of which the content of a storage shows what they held before the record."""
        return self._traced_back(tracked)[1]

    def _traced_back(self, tracked: TrackedStorage) -> tuple[list[LogStep], list[TrackedStorage]]:
        if tracked.writers and (last := tracked.writers[-1]).overwrites and not last.reads:
            # So it is nearly always.
            return [last], []
        beginnings: list[TrackedStorage] = []
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
            else:
                if tracked.before:
                    beginnings.append(tracked)
        return [found[index] for index in sorted(found)], beginnings

    def seen(self, tracked: TrackedStorage) -> str | None:
        """Where code looked at random numbers that the content of a storage comes from."""
        if not self.looked:
            return None
        return next((step.seen for step in self.sliced(tracked) if step.seen is not None), None)

    def sharing(self, stored: Mapping[K, Iterable[TrackedStorage]], start: Iterable[K]) -> dict[K, K]:
        """What shares draws with one that it starts with, itself or by way of others; and with which.

        ``stored`` has the memory of each.
        """
        todo = list(start)

        def drawn_for(each: K) -> set[object]:
            return {step.draw for tracked in stored[each] for step in self.sliced(tracked) if step.random}

        draws = {each: drawn_for(each) for each in todo}
        if not any(draws.values()):
            return {}
        draws = {each: draws[each] if each in draws else drawn_for(each) for each in stored}
        users: dict[object, list[K]] = {}
        for each, drawn in draws.items():
            for index in drawn:
                users.setdefault(index, []).append(each)
        partners: dict[K, K] = {}
        done = set(todo)
        while todo:
            one = todo.pop()
            for index in draws[one]:
                for each in users.pop(index, ()):
                    if each not in done:
                        done.add(each)
                        todo.append(each)
                        partners[each] = one
        return partners

    def replay(self, bound: dict[int, torch.UntypedStorage]) -> None:
        """Do every operation anew, in order.

        ``bound`` is the memory that stands for storages of the record, by their ``id``; the others get memory
        of their own while they are needed.
        """
        steps = self.needed(bound)
        last = {id(tracked): step.index for step in steps for tracked in (*step.reads, *step.writes)}
        memory = dict(bound)

        def place(tracked: TrackedStorage) -> torch.UntypedStorage | None:
            found = memory.get(id(tracked))
            if found is None and tracked.data is not None:
                found = memory[id(tracked)] = tracked.data.clone().untyped_storage()
            return found

        with torch.no_grad():
            for step in steps:
                memory.update(run_step(step, place))
                for tracked in (*step.reads, *step.writes):
                    if last[id(tracked)] == step.index and id(tracked) not in bound:
                        memory.pop(id(tracked), None)

    def needed(self, bound: Iterable[int]) -> list[LogStep]:
        """The operations that draw, or that something bound comes from: not what code only looked at."""
        live = set(bound)
        needed: list[LogStep] = []
        for step in reversed(self.steps):
            if step.moves or any(id(tracked) in live for tracked in step.writes):
                needed.append(step)
                live.update(id(tracked) for tracked in (*step.reads, *step.writes))
        return needed[::-1]


def tensor_at(storage: torch.UntypedStorage, region: Region) -> torch.Tensor:
    """The tensor that lies at a region of a memory."""
    empty = torch.empty(0, dtype=region.dtype, device=storage.device)
    return empty.set_(storage, region.offset, region.sizes, region.strides)  # type: ignore[call-overload]


def fill_bytes(storage: torch.UntypedStorage, content: int) -> torch.UntypedStorage:
    """Give each byte of a memory this content."""
    tensor_at(storage, Region((storage.nbytes(),), (1,), 0, torch.uint8)).fill_(content)
    return storage


def run_step(step: LogStep, place: Place) -> dict[int, torch.UntypedStorage]:
    """Do an operation; what has no memory is given some, which is returned by ``id`` of the storage."""
    given: dict[int, torch.UntypedStorage] = {}

    def real(operand: Operand) -> torch.Tensor:
        storage = given.get(id(operand.tracked)) or place(operand.tracked)
        if storage is None:
            whole = operand.tracked.whole
            size = whole.span[1] * whole.dtype.itemsize
            storage = given[id(operand.tracked)] = torch.UntypedStorage(size)
        found = tensor_at(storage, operand.region)
        if operand.turned is not None:
            conjugated, negated = operand.turned
            found = found.conj() if conjugated else found
            found = torch.ops.aten._neg_view(found) if negated else found
        return found

    args, kwargs = tree_map_only(Operand, real, (step.args, step.kwargs))
    result = step.func(*args, **kwargs)
    if step.outs:
        for out, tensor in zip(step.outs, made_by(step.func, result), strict=True):
            if out is not None:
                real(out).copy_(tensor)
    return given


def operands_in(items: Any) -> list[Operand]:
    """The operands in arguments."""
    return [item for item in leaves(items) if isinstance(item, Operand)]


def hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why doing an operation again would not give the same; None if it would."""
    if has_own_generator(kwargs):
        return OWN_GENERATOR
    for item in leaves((args, kwargs)):
        if isinstance(item, torch.Tensor) and not is_strided(item) and not item.is_meta:
            usual = type(item) is torch.Tensor
            kind = "sparse or quantized tensor" if usual else type(item).__name__
            return f"it works on a {kind}, which is not followed"
    return None
