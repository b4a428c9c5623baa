"""What a deferred build has left to do: under ``rng="torch"``, torch does it as it would have when building.

Nothing is done twice. What waits is done in its order, from where torch's generator stands; what was drawn
while the model was built stays, if it was drawn from there. Otherwise everything random is drawn anew, which
is refused where the code knows its numbers already.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterable, Iterator

import torch

from initcfg._record.recording import (
    COPIED_BYTES,
    DrawOrder,
    LogStep,
    Recorder,
    TrackedStorage,
    run_step,
)
from initcfg.errors import ApplyError, log


class Rest:
    """What waits of a build; made when that is over, and what has to be real is.

    ``waiting`` is the memory that nobody may count on until a plan is applied, ``planned`` all memory whose
    content a plan decides.
    """

    def __init__(
        self,
        recorder: Recorder,
        order: DrawOrder,
        waiting: Iterable[TrackedStorage],
        planned: Iterable[TrackedStorage],
    ) -> None:
        self._log, self._order, self._untold = recorder.log, order, recorder.untold_draws
        self._over = False
        self._waiting: dict[int, TrackedStorage] = {}
        # These were done since something else needed them.
        self._done: list[TrackedStorage] = []
        # Of these, what was there before their first operation counts.
        self._begun: list[TrackedStorage] = []
        for each in waiting:
            first = next(iter(each.waiting.values()), None)
            if first is not None and first.overwrites and not first.reads and each in first.writes:
                # So it is nearly always.
                self._waiting[id(each)] = each
            elif first is not None and each.pending:
                self._waiting[id(each)] = each
                # What nobody wrote is not kept.
                if each.foreign or any(step.done for step in each.writers):
                    self._begun.append(each)
            elif each.storage is not None:
                self._done.append(each)
        self._kept = {id(each): _copy(each) for each in self._to_keep()}
        # What was drawn while building, and what it was: a plan decides of the others alone.
        self._drawn: list[tuple[TrackedStorage, int | None]] = []
        if order.moved:
            decided = set(planned)
            self._drawn = [
                (each, None if each in decided else _checksum(each))
                for each in recorder.held()
                if id(each) not in self._waiting and any(step.moves for step in self._log.sliced(each))
            ]

    @property
    def matters(self) -> bool:
        """Whether torch's generator has anything to do with it."""
        return self._order.moved or any(step.moves and not step.done for step in self._log.steps)

    def __call__(self) -> None:
        """Do it, once; raises ApplyError if it cannot be done from where torch's generator stands."""
        if not self._over:
            self._carry_out()
            self._over = True

    def undone(self) -> None:
        """What was done was taken back: it is to be done again."""
        self._over = False

    def _carry_out(self) -> None:
        for tracked in self._done:
            if id(tracked) in self._kept and tracked.storage is not None:
                tracked.storage.copy_(self._kept[id(tracked)])
        if not self._order.can_go_on():
            self._draw_anew()
            return
        steps = self._to_do()
        last = {id(tracked): step.index for step in steps for tracked in (*step.reads, *step.writes)}
        changed = {id(tracked) for step in steps for tracked in step.writes}
        memory: dict[int, torch.UntypedStorage] = {}
        for key, tracked in self._waiting.items():
            assert tracked.storage is not None
            memory[key] = tracked.storage
            if key in self._kept:
                tracked.storage.copy_(self._kept[key])

        def place(tracked: TrackedStorage) -> torch.UntypedStorage | None:
            key = id(tracked)
            found = memory.get(key)
            if found is None:
                found = self._kept.get(key) or tracked.storage
                if found is not None and key in changed:
                    found = found.clone()
                if found is not None:
                    memory[key] = found
            return found

        with torch.no_grad(), self._order.again():
            for step in steps:
                if step.moves:
                    with self._order(step.index):
                        memory.update(run_step(step, place))
                else:
                    memory.update(run_step(step, place))
                for tracked in (*step.reads, *step.writes):
                    if last[id(tracked)] == step.index and id(tracked) not in self._waiting:
                        memory.pop(id(tracked), None)
            self._order.pass_to(len(self._log.steps))

    def _to_do(self) -> list[LogStep]:
        """The operations that wait, but for draws that nobody needs."""
        wanted = [
            step
            for tracked in self._waiting.values()
            for step in tracked.waiting.values()
            if tracked in step.writes
        ]
        # How many numbers a draw takes may depend on what it reads.
        wanted += [step for step in self._log.steps if step.reads and step.moves and not step.done]
        return self._log.due_for(*wanted)

    def _to_keep(self) -> Iterator[TrackedStorage]:
        """Memory whose content counts, and that others may write before its time comes."""
        yield from (each for each in self._done if _size(each) <= COPIED_BYTES)
        yield from self._begun
        for step in self._log.steps:
            for tracked in () if step.done else step.reads:
                if not (tracked.pending or tracked.abandoned) and _size(tracked) <= COPIED_BYTES:
                    yield tracked

    def _draw_anew(self) -> None:
        """Do all that is random again, from where torch's generator stands."""
        bound = {**self._waiting, **{id(tracked): tracked for tracked, _ in self._drawn}}
        memory = {key: each.storage for key, each in bound.items() if each.storage is not None}
        steps = self._log.needed(memory)
        if (reason := self._final(bound, steps)) is not None:
            raise ApplyError(
                "Some of this model's random numbers were drawn while it was built, and torch's generator "
                f"has been seeded or used since. They cannot be drawn again: {reason}.",
                fix="Call torch.manual_seed(seed) right before the model is built, and apply the plan next, "
                "without a seed or with the same one. initcfg.build(config, seed=seed, rng='torch') does so.",
            )
        for tracked in bound.values():
            if tracked.data is not None and tracked.storage is not None:
                tracked.storage.copy_(tracked.data.untyped_storage())
        told = self._drawn and not self._order.just_seeded()
        self._log.replay(memory)
        if told:
            log(
                "Numbers that were drawn while the model was built, buffers too, have been drawn anew: "
                "torch's generator was used since. Apply a plan right after the build, or seed before it."
            )

    def _final(self, bound: dict[int, TrackedStorage], steps: list[LogStep]) -> str | None:
        """Why it cannot be done again; None if it can."""
        if self._order.set_at is not None:
            return f"its code sets torch's generator itself ({self._order.set_at})"
        if self._order.unseen or self._untold:
            return "something has drawn, or set the generator, in a way that no record shows"
        for step in self._log.steps:
            if step.seen is not None and step.moves:
                return f"its code looks at them ({step.seen})"
        for tracked, before in self._drawn:
            if before is not None and _checksum(tracked) != before:
                return f"a {tuple(tracked.whole.sizes)} tensor of them has been changed since"
        for step in steps:
            if step.hidden is not None:
                return step.hidden
            for tracked in (*step.reads, *(each for each in step.writes if id(each) in bound)):
                if tracked.handed_out:
                    return "they come from memory that was handed out (numpy() or data_ptr())"
                if tracked.foreign and tracked.writers and _size(tracked) > COPIED_BYTES:
                    return "they come from a large tensor that was made elsewhere, and changed"
        return None


def _size(tracked: TrackedStorage) -> int:
    return 0 if tracked.storage is None else tracked.storage.nbytes()


def _copy(tracked: TrackedStorage) -> torch.UntypedStorage:
    assert tracked.storage is not None
    return tracked.storage.clone()


def _checksum(tracked: TrackedStorage) -> int:
    storage = tracked.storage
    assert storage is not None
    here = storage if storage.device.type == "cpu" else storage.cpu()
    size = here.nbytes()
    return zlib.crc32((ctypes.c_char * size).from_address(here.data_ptr())) if size else 0
