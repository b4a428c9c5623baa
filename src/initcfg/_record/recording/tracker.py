"""What a recorder knows: the storages of tensors, by address, and what was recorded for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch

from initcfg._model import storage_of
from initcfg._record.recording.aten import is_plain
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.log import Log, Place, run_step
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import LogStep, TrackedStorage

_PRUNE_EVERY = 256
# Tensors that were made elsewhere are copied when they are met, up to this size.
_COPIED_BYTES = 1 << 20


class StorageTracker:
    """Storages by address, and the log. Operations that draw are done within ``drawing``."""

    def __init__(self, drawing: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        super().__init__()
        self.log = Log()
        self._storages: dict[int, TrackedStorage] = {}
        self._made = 0
        self._prune_at = _PRUNE_EVERY
        self._passing = False
        self._drawing = drawing

    def tracked(self, tensor: torch.Tensor) -> TrackedStorage | None:
        """The storage of a tensor, if it is known here."""
        return self._storages.get(storage_of(tensor))

    def all_tracked(self, tensors: Iterable[torch.Tensor]) -> list[TrackedStorage]:
        """The storages of those tensors that are known here."""
        return [found for tensor in tensors if (found := self.tracked(tensor)) is not None]

    def in_use(self) -> list[TrackedStorage]:
        """Every storage that somebody else still holds."""
        return [tracked for tracked in self._storages.values() if not tracked.abandoned]

    def track_existing(self, tensor: torch.Tensor, original: torch.Tensor) -> None:
        """Take in a tensor that was there before; its numbers are those of another, fetched if need be."""
        if self.tracked(tensor) is None:
            tracked = self._track(tensor)
            assert tracked is not None
            tracked.before, tracked.original = True, original.untyped_storage()

    def track_foreign(self, tensor: torch.Tensor, *, fresh: bool = False) -> TrackedStorage | None:
        """Take in a tensor that was made elsewhere (``fresh``: just now), with what it holds."""
        tracked = self.tracked(tensor)
        if tracked is None and (tracked := self._track(tensor)) is not None:
            storage = tensor.untyped_storage()
            with self._through(), torch.no_grad():
                data = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]
                tracked.data = data.clone() if storage.nbytes() <= _COPIED_BYTES else data
            tracked.fresh = fresh
        return tracked

    def is_random(self, item: object) -> bool:
        """Whether it is a tensor that random numbers make."""
        found = self.all_tracked([item]) if isinstance(item, torch.Tensor) else ()
        return any(step.random for each in found for step in self.log.sliced(each))

    def _track(self, tensor: torch.Tensor) -> TrackedStorage | None:
        if not is_plain(tensor):
            return None
        self._made += 1
        if self._made >= self._prune_at:
            self._prune()
        storage = tensor.untyped_storage()
        tracked = self._storages[storage._cdata] = TrackedStorage(storage, region_of(tensor))
        return tracked

    def _prune(self) -> None:
        """Forget memory that nobody else holds."""
        for key, tracked in list(self._storages.items()):
            if not tracked.waiting and tracked.abandoned:
                tracked.storage = None
                del self._storages[key]
        self._prune_at = self._made + max(_PRUNE_EVERY, len(self._storages))

    def make_real(self, tensor: torch.Tensor, *, exposing: bool = False, looking: bool = False) -> None:
        """Do what was recorded for the memory of ``tensor``.

        Code gets to see its numbers (``looking``), or its address, so that its content may change unseen.
        """
        tracked = None if self._passing else self.tracked(tensor)
        if tracked is None:
            return
        if looking or exposing:
            self._note_look([tracked])
        self.compute([tracked])
        if exposing and not tracked.exposed:
            tracked.exposed = True
            tracked.layers = [layer._replace(known=None) for layer in tracked.layers] or [
                Layer(region_of(tensor), None, "?", {"type": "?"})
            ]

    def compute(self, wanted: Iterable[TrackedStorage]) -> None:
        """Do what was recorded for these storages, in the order of recording."""
        wanted = [each for each in wanted if each.lazy]
        if wanted:
            with self._through(), torch.no_grad():
                self.log.compute(wanted, self._run)
                for each in wanted:
                    each.fetch()

    def _run(self, step: LogStep, place: Place) -> None:
        for each in (*step.reads, *step.writes):
            each.fetch()
        with self._drawing() if step.random else contextlib.nullcontext():
            run_step(step, place)

    @contextlib.contextmanager
    def _through(self) -> Iterator[None]:
        """Within this, operations pass by."""
        before, self._passing = self._passing, True
        try:
            yield
        finally:
            self._passing = before

    def _note_look(self, storages: Iterable[TrackedStorage]) -> None:
        """Code sees numbers: what was drawn for them is not the stream's to draw again."""
        place = None
        for each in storages:
            for step in self.log.sliced(each):
                if step.seen is None and step.random:
                    place = place or code_that_writes().place
                    step.seen, self.log.looked = place, True
