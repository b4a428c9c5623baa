"""The books of a recorder: the storages that it knows, and what was recorded for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch

from initcfg._record.recording.held import Held, Step
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.log import Log, run_step
from initcfg._record.recording.operations import is_plain
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import region_of

_PRUNE_EVERY = 256
# Tensors that were made elsewhere are copied when they are met, up to this size.
_COPIED_BYTES = 1 << 20


class Books:
    """Storages by address, and the log.

    Args:
        drawing: Within this, operations that draw are done; the process's generator may be another there.

    Attributes:
        log: What was recorded.
    """

    def __init__(self, drawing: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        super().__init__()
        self.log = Log()
        self._held: dict[int, Held] = {}
        self._made = 0
        self._prune_at = _PRUNE_EVERY
        self._passing = False
        self._drawing = drawing

    # -- the storages ----------------------------------------------------------------------------

    def held_by(self, tensor: torch.Tensor) -> Held | None:
        """The storage of a tensor, if it is known here."""
        try:
            return self._held.get(tensor.untyped_storage()._cdata)
        except (NotImplementedError, RuntimeError):
            return None

    def in_use(self) -> list[Held]:
        """Every storage that somebody else still holds."""
        return [held for held in self._held.values() if not held.abandoned]

    def know(self, tensor: torch.Tensor, original: torch.Tensor) -> None:
        """Take in a tensor that was there before; its numbers are those of another, fetched if need be."""
        known = self._held.get(tensor.untyped_storage()._cdata)
        if known is None:
            held = self._hold(tensor)
            assert held is not None
            held.before, held.original = True, original.untyped_storage()

    def know_foreign(self, tensor: torch.Tensor) -> Held | None:
        """Take in a tensor of the model that no recorded operation touched."""
        return self._adopt(tensor)

    def know_fresh(self, tensor: torch.Tensor) -> None:
        """Take in a tensor that was made just now, from a list or from NumPy."""
        if self.held_by(tensor) is None and (held := self._adopt(tensor)) is not None:
            held.fresh = True

    def _was_there(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is older than the record."""
        held = self.held_by(tensor)
        return held is None or (held.foreign and not held.fresh)

    def _is_held(self, args: tuple[Any, ...]) -> bool:
        """Whether a number among these arguments is a tensor whose content depends on what was recorded."""
        return any(
            isinstance(each, torch.Tensor) and each.dim() == 0 and self._depends(each) for each in args[1:]
        )

    def _depends(self, tensor: torch.Tensor) -> bool:
        """Whether random numbers make a tensor."""
        held = self.held_by(tensor)
        return held is not None and any(step.random for step in self.log.sliced(held))

    def _hold(self, tensor: Any) -> Held | None:
        if not is_plain(tensor):
            return None
        self._made += 1
        if self._made >= self._prune_at:
            self._prune()
        storage = tensor.untyped_storage()
        held = self._held[storage._cdata] = Held(storage, region_of(tensor))
        return held

    def _adopt(self, tensor: torch.Tensor) -> Held | None:
        """Take in a tensor that was made elsewhere, with what it holds now."""
        held = self._hold(tensor)
        if held is not None:
            storage = tensor.untyped_storage()
            with self._through(), torch.no_grad():
                data = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]
                held.data = data.clone() if storage.nbytes() <= _COPIED_BYTES else data
            held.foreign = True
        return held

    def _prune(self) -> None:
        """Forget memory that nobody else holds."""
        for key, held in list(self._held.items()):
            if not held.waiting and held.abandoned:
                held.storage = None
                del self._held[key]
        self._prune_at = self._made + max(_PRUNE_EVERY, len(self._held))

    # -- what is done ----------------------------------------------------------------------------

    def make_real(self, tensor: torch.Tensor, *, exposing: bool = False, looking: bool = False) -> None:
        """Do what was recorded for the memory of ``tensor``.

        Args:
            tensor: The tensor.
            exposing: Whether its address goes out, so that nothing is known of its content from here on.
            looking: Whether code gets to see its numbers.
        """
        if self._passing:
            return
        held = self.held_by(tensor)
        if held is None:
            return
        if looking or exposing:
            self._note_look([held])
        if held.lazy:
            self.compute([held])
        if exposing and not held.exposed:
            held.exposed = True
            held.layers = [layer._replace(known=None) for layer in held.layers] or [
                Layer(region_of(tensor), None, "?", {"type": "?"})
            ]

    def compute(self, wanted: Iterable[Held]) -> None:
        """Do what was recorded for these storages, in the order of recording."""
        wanted = list(wanted)
        with self._through(), torch.no_grad():
            self.log.compute([each for each in wanted if each.waiting], self._run)
            for each in wanted:
                _load(each)

    def _run(self, step: Step, place: Any) -> None:
        for each in (*step.reads, *step.writes):
            _load(each)
        with self._drawing() if step.random else contextlib.nullcontext():
            run_step(step, place)

    @contextlib.contextmanager
    def _through(self) -> Any:
        """Within this, operations pass by."""
        before, self._passing = self._passing, True
        try:
            yield
        finally:
            self._passing = before

    def _note_look(self, held: Iterable[Held]) -> None:
        """Code sees numbers: what was drawn for them is not the stream's to draw again."""
        place = None
        for each in held:
            for step in self.log.sliced(each):
                if step.seen is None and step.random:
                    place = place or code_that_writes().place
                    step.seen = place


def _load(held: Held) -> None:
    """Fetch the numbers of a tensor that was there before."""
    if held.original is not None and held.storage is not None:
        held.storage.copy_(held.original)
        held.original = None
