"""Writes that wait while a model's own code runs: it may overwrite them, or read them.

Under the stream the order of writes does not matter but where code looks. So a tensor that code may still
write is filled at the end, once; if code reads it, it is filled just then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch

from initcfg._model import storage_of
from initcfg._record import waits
from initcfg._record.recording import CodeRecorder, Session, WaitingWrite
from initcfg.values import FromCheckpoint, Value


class Later:
    """The writes that wait, by storage.

    Args:
        tensors: Every tensor that the model stores, with its canonical name.
        fill: Does a write.
        default: Takes a pending tensor's default, which its constructor meant, to be written now.
    """

    def __init__(
        self,
        tensors: Iterable[tuple[str, torch.Tensor]],
        fill: Callable[[torch.Tensor, Value, str], None],
        default: Callable[[torch.Tensor], Value | None],
    ) -> None:
        self._tensors: dict[int, list[tuple[str, torch.Tensor]]] = {}
        for name, tensor in tensors:
            self._tensors.setdefault(storage_of(tensor), []).append((name, tensor))
        self._fill = fill
        self._default = default
        self._planned: dict[int, WaitingWrite] = {}
        self._recorder: CodeRecorder | None = None

    def put(self, tensor: torch.Tensor, value: Value, name: str) -> bool:
        """Put a write off; False if it must be done now."""
        storage = storage_of(tensor)
        if isinstance(value, FromCheckpoint) or len(self._tensors.get(storage, ())) != 1:
            self._planned.pop(storage, None)
            return False
        planned = WaitingWrite(tensor, value, name)
        if self._recorder is not None and self._recorder.has(tensor):
            self._recorder.plan(planned)
        else:
            self._planned[storage] = planned
        return True

    def take(self) -> list[WaitingWrite]:
        """The writes that wait; they wait no longer."""
        found = list(self._planned.values())
        self._planned.clear()
        return found

    @contextlib.contextmanager
    def recorded(self, noted: Callable[[torch.Tensor, str], None], meant: dict[str, Value]) -> Iterator[None]:
        """Within this, what code writes is recorded; ``meant`` then has the values that it means."""
        if self._recorder is not None:
            # Code that called for rules, in which there is code again.
            yield
            return
        self._recorder = recorder = CodeRecorder(self._look_up, self._do)
        try:
            with Session(recorder, on_sampler=noted):
                yield
                account = recorder.finish()
        finally:
            self._recorder = None
        meant.update(account.meant)
        self._planned.update((storage_of(each.tensor), each) for each in account.waiting)

    def _look_up(self, storage: int) -> tuple[torch.Tensor, str, WaitingWrite | None] | None:
        found = self._tensors.get(storage, ())
        if len(found) != 1:
            for name, tensor in found:
                self._take_default(tensor, name, now=True)
            return None
        name, tensor = found[0]
        planned = self._planned.pop(storage, None) or self._take_default(tensor, name, now=False)
        return tensor, name, planned

    def _take_default(self, tensor: torch.Tensor, name: str, *, now: bool) -> WaitingWrite | None:
        value = self._default(tensor) if waits(tensor) else None
        if value is None:
            return None
        planned = WaitingWrite(tensor, value, name)
        if now:
            self._do(tensor, planned)
        return planned

    def _do(self, tensor: torch.Tensor, planned: WaitingWrite) -> None:
        with torch.no_grad():
            self._fill(tensor, planned.value, planned.name)
