"""What this package writes itself while it records, and samplers that it knows: no dispatch mode sees either.

They are noted as the values that they are, and done when somebody looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from initcfg._record.recording import aten
from initcfg._record.recording.aten import is_plain
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import LogStep, Operand, TrackedStorage
from initcfg._record.recording.usual import UsualOperations
from initcfg.errors import BuildError
from initcfg.values import Value


class OwnWrites(UsualOperations):
    """Notes writes that are not operations; those on parameters that were made elsewhere may be refused."""

    def __init__(
        self,
        drawing: Callable[[int], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
        *,
        refuse_foreign_parameters: bool = False,
    ) -> None:
        super().__init__(drawing)
        self._refuse = refuse_foreign_parameters

    @property
    def passes(self) -> bool:
        """Whether operations pass by."""
        return self._passing

    @contextlib.contextmanager
    def passed_by(self) -> Iterator[None]:
        """Within this, operations pass by which others may observe."""
        before, self._passing = self._passing, True
        try:
            yield
        finally:
            self._passing = before

    def drawing(self) -> contextlib.AbstractContextManager[object]:
        """Within this, torch's generator stands where recorded code would draw from it now."""
        return self._drawing(len(self.log.steps))

    def record_sampler(
        self, tensor: torch.Tensor, value: Value, run: Callable[[torch.Tensor], object]
    ) -> bool:
        """Note a call of a known sampler; False if the tensor is not one of ours."""
        with self.lock:
            tracked = self._writable(tensor)
            if tracked is not None:
                self._fill(tracked, self._layer(region_of(tensor), value, value.kind), run, (), {})
            return tracked is not None

    def note_write(
        self,
        tensor: torch.Tensor,
        value: Value | None,
        write: Callable[[torch.Tensor], object],
        *,
        call: Mapping[str, Any] | None = None,
        draws: bool = False,
        changes: bool = False,
        reason: str | None = None,
    ) -> None:
        """Note a write of this package's, which no dispatch mode sees; see :class:`Recording`.

        It is done at once where it cannot wait.
        """
        with self.lock:
            tracked = None if value is None else self._writable(tensor)
            if tracked is not None:
                self._fill(tracked, self._own_layer(tensor, value, call), write, (), {})
                return
            self.check_own(tensor)
            self.begin_write(tensor)
            drawing = draws or (value is not None and value.random)
            with self.drawing() if drawing else contextlib.nullcontext(), self.through(), torch.no_grad():
                write(tensor)
            self.end_write(tensor, value, write, call=call, draws=draws, changes=changes, reason=reason)

    def begin_write(self, tensor: torch.Tensor) -> None:
        """A tensor is about to be written unseen: what waits for what it holds is done, or for it."""
        if is_plain(tensor) and (tracked := self.track_foreign(tensor)) is not None:
            self.compute([tracked])
            self._finish_readers([tracked])
            self._keep_beginning(tracked)

    def end_write(
        self,
        tensor: torch.Tensor,
        value: Value | None,
        write: Callable[[torch.Tensor], object],
        *,
        call: Mapping[str, Any] | None = None,
        draws: bool = False,
        changes: bool = False,
        reason: str | None = None,
    ) -> None:
        """It was written, with this value if that is known; ``write`` does so again."""
        tracked = self.tracked(tensor)
        if tracked is not None:
            layer = self._own_layer(tensor, value, call)
            whole = layer.region.covers(tracked.whole)
            before = None if whole else {id(tracked): tracked.snapshot(tracked.whole)}
            facts: dict[str, Any] = {"before": before, "overwrites": whole and not changes, "draws": draws}
            facts["reason"] = reason or "initcfg wrote it, and no value says what"
            target = (Operand(tracked, layer.region),)
            self._add_filling(write, target, {}, tracked, layer, **facts, done=True)
            tracked.write(layer)
            if tracked.foreign and not tracked.handed_out:
                # Who made it may hold its memory, too.
                tracked.outside = self.handed_out = True
            self._look_again([tracked])

    def note_draw(self, draw: Callable[[], object]) -> None:
        """Note that code draws a seed from the generator, which is done when it is needed."""
        with self.lock:
            self.log.add(LogStep(len(self.log.steps), draw, (), {}, (), (), draws=True))

    def _own_layer(self, tensor: torch.Tensor, value: Value | None, call: Mapping[str, Any] | None) -> Layer:
        layer = self._layer(region_of(tensor), value, "initcfg" if value is None else value.kind)
        return layer if call is None else layer._replace(call=dict(call))

    def check_own(self, tensor: torch.Tensor) -> None:
        """Refuse a parameter that traced code did not make."""
        if (
            self._refuse
            and isinstance(tensor, torch.nn.Parameter)
            and not tensor.is_meta
            and self._was_there(tensor)
        ):
            raise BuildError(
                "The traced code writes a parameter that it did not make: the model was there before.",
                shape=tuple(tensor.shape),
                fix="Pass the model too: initcfg.trace(init, model).",
            )

    def _writable(self, target: Any) -> TrackedStorage | None:
        """The storage of a tensor on which a write can be noted by name."""
        if not isinstance(target, torch.Tensor) or target.dtype not in aten.FLOATS:
            return None
        tracked = self.tracked(target)
        plain = tracked is not None and not (tracked.handed_out or tracked.foreign)
        return tracked if plain and aten.disjoint(target) and not aten.is_turned(target) else None

    def _was_there(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is older than the record."""
        tracked = self.tracked(tensor)
        return tracked is None or (tracked.foreign and not tracked.fresh)
