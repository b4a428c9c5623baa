"""The order of draws: what is drawn early gets the numbers that it would have got in its place.

A recorded draw waits, and does not move torch's generator. If one must be done while code runs, those before
it are passed: drawn too, and thrown away. The state before each of them is kept, for when it is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from initcfg._record.recording.log import run_step
from initcfg._record.recording.storage import LogStep, TrackedStorage
from initcfg._record.recording.tracker import StorageTracker

_CPU = "cpu"
States = dict[str, torch.Tensor]
"""The states of torch's generators, by device."""


class DrawOrder:
    """Where torch's generator stands in the order of recorded draws, from when this is made.

    Attributes:
        moved: Whether anything was drawn before its time, or the code had to do with the generator itself.
        set_at: Where the code seeded the generator, or set its state.
        unseen: Whether something else has moved it.
        begin: How it stood when the recording began.
        left: How it stood when the recording ended.
    """

    def __init__(self) -> None:
        self.moved = False
        self.set_at: str | None = None
        self.unseen = False
        self.begin = self.left = states()
        self._stood: torch.Tensor | None = self.begin[_CPU]
        self._at = 0
        self._before: dict[int, States] = {}
        self._recorder: StorageTracker | None = None

    def follow(self, recorder: StorageTracker) -> None:
        """Say whose draws these are."""
        self._recorder = recorder

    def __call__(self, index: int) -> _InPlace:
        """Within this, the generator stands where the operation with this index draws."""
        return _InPlace(self, index)

    @contextlib.contextmanager
    def handed_to_code(self, setting: str | None) -> Iterator[None]:
        """Within this, code reads the generator's state; or sets it, and where is given."""
        self._look()
        self.pass_to(len(self._steps))
        try:
            yield
        finally:
            self.moved = True
            self.set_at = self.set_at or setting
            self._note_place()

    def end(self) -> None:
        """The code has run: from here on, the draws that wait are done in one go."""
        self._look()
        self._stood = None
        self.left = states()

    def can_go_on(self) -> bool:
        """Whether what waits can be drawn as if nothing had been drawn before its time.

        So it is where the generator stands as the recording left it; or as it was when that began, after the
        same seed. It is then set to where the recording left it.
        """
        if not self.moved:
            return not self.unseen
        now = states()
        if self.unseen or not (_same(now, self.left) or _same(now, self.begin)):
            return False
        if not _same(now, self.left):
            set_states(
                {
                    device: state
                    for device, state in self.left.items()
                    if device not in self.begin or not torch.equal(state, self.begin[device])
                }
            )
        return True

    def just_seeded(self) -> bool:
        """Whether the generator stands as its seed left it."""
        fresh = torch.Generator().manual_seed(torch.default_generator.initial_seed())
        return torch.equal(fresh.get_state(), torch.default_generator.get_state())

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Within this, draws that wait are done; afterwards it is known no more of them than before."""
        before = self._at, dict(self._before)
        try:
            yield
        finally:
            self._at, self._before = before

    def pass_to(self, index: int) -> None:
        """Move the generator past the draws before this one that wait."""
        steps, recorder = self._steps, self._recorder
        while self._at < min(index, len(steps)):
            step = steps[self._at]
            if step.moves and not step.done and step.index not in self._before:
                assert recorder is not None
                with recorder.through(), torch.no_grad():
                    if step.reads:
                        # How many numbers it draws may depend on what it reads.
                        self._note_place()
                        recorder.log.do(recorder.log.due_for(step), recorder.run_waiting)
                    else:
                        if self._stood is not None:
                            self._before[step.index] = states()
                        run_step(step, _memory_like)
            self._at = max(self._at, step.index + 1)

    @property
    def _steps(self) -> list[LogStep]:
        assert self._recorder is not None
        return self._recorder.log.steps

    def _look(self) -> None:
        """Note whether something has moved the generator that was not seen."""
        stood = self._stood
        if stood is not None and not torch.equal(torch.default_generator.get_state(), stood):
            self.unseen = True

    def _note_place(self) -> None:
        if self._stood is not None:
            self._stood = torch.default_generator.get_state()


class _InPlace:
    """A draw in its place in the order; what was passed before draws from the state that was kept."""

    def __init__(self, order: DrawOrder, index: int) -> None:
        self._order, self._index = order, index
        self._saved: States | None = None

    def __enter__(self) -> None:
        order = self._order
        if order._stood is not None:
            order._look()
            order.moved = True
        before = order._before.get(self._index)
        if before is not None:
            self._saved = states()
            set_states(before)
        else:
            order.pass_to(self._index)
            order._note_place()

    def __exit__(self, *error: Any) -> None:
        order = self._order
        if self._saved is not None:
            set_states(self._saved)
        else:
            if self._index < len(order._steps):
                order._at = max(order._at, self._index + 1)
            order._note_place()


def states() -> States:
    """The states of the generators that recorded code may draw from."""
    found = {_CPU: torch.default_generator.get_state()}
    if torch.cuda.is_initialized():
        for index, generator in enumerate(torch.cuda.default_generators):
            found[f"cuda:{index}"] = generator.get_state()
    return found


def set_states(found: States) -> None:
    """Set the generators to these states."""
    for device, state in found.items():
        if device == _CPU:
            torch.default_generator.set_state(state)
        else:
            torch.cuda.default_generators[torch.device(device).index].set_state(state)


def _same(one: States, other: States) -> bool:
    """Whether the generator of the CPU stands alike: others draw for tensors on their device alone."""
    return torch.equal(one[_CPU], other[_CPU])


def _memory_like(tracked: TrackedStorage) -> torch.UntypedStorage:
    assert tracked.storage is not None
    return torch.UntypedStorage(tracked.storage.nbytes(), device=tracked.storage.device)
