"""A plan that recorded code applies: each write is told to the record, as the value that it is.

What the record cannot follow (code of the model's own under a seed of its own, a batch that runs through the
model) is done in memory, apart from the record, which is told what it came to.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import nn

from initcfg._apply.filling import Filler, TorchFiller
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._model import Names, is_sharded, storage_of, stored_in
from initcfg._plan import Ledger, Load, Loaded, Plan, Write, has_kind
from initcfg._record.recording import OWN_WRITE, Session, current_session, set_aside
from initcfg._stream.writing import LateSeed, fill_stream, recorded_value
from initcfg.values import CopyOf, FromBatch, FromCheckpoint, Hooked, Normal, Opaque, Value


class RecordedFiller(Filler):
    """Tells the record of a session what tensors get from the stream; without a seed, the plan's decides."""

    recorded = True

    def __init__(
        self,
        session: Session,
        checkpoints: PlannedCheckpoints,
        loads: Sequence[Load],
        seed: int | None,
        draw: Callable[[], int],
    ) -> None:
        self._session = session
        self._checkpoints = checkpoints
        self._loads = loads
        self._seed = seed
        self._late = LateSeed(draw)
        # Of those without a seed what was drawn, by name: copies are the same object.
        self._drawn: dict[str, Value] = {}
        if seed is None:
            session.note_draw(self._late.begin)

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Note a value, or load it, which is noted too."""
        if isinstance(value, FromCheckpoint):

            def draw(shape: tuple[int, ...]) -> torch.Tensor:
                made = torch.empty(shape, device="cpu")
                self._write(made, Normal(0.0, 1.0), name)
                return made

            return load_noted(self._session, self._checkpoints, self._loads, tensor, value, name, draw)
        known = self._known(value, name)
        self._session.note_write(
            tensor,
            known,
            functools.partial(self._write, value=value, name=name),
            call=None if write is None else _call_of(write),
            draws=known is None and self._seed is None,
            changes=known is None,
        )
        return None

    def _known(self, value: Value, name: str) -> Value | None:
        """The value that is recorded."""
        if self._seed is None and value.random:
            source, inner = (value.source, value.value) if isinstance(value, CopyOf) else (name, value)
            known = recorded_value(inner, source, None)
            drawn = None if known is None else self._drawn.setdefault(source, copy(known))
            return drawn if drawn == known else None
        return copy(recorded_value(value, name, self._seed))

    def _write(self, tensor: torch.Tensor, value: Value, name: str) -> None:
        seed = self._late() if self._seed is None and value.random else self._seed or 0
        fill_stream(tensor, value, seed=seed, name=name)


class RecordedTorchFiller(TorchFiller):
    """Torch's own operations, which are recorded as anybody's; and loads, which are noted."""

    recorded = True

    def __init__(self, session: Session, checkpoints: PlannedCheckpoints, loads: Sequence[Load]) -> None:
        super().__init__(checkpoints)
        self._session = session
        self._loads = loads

    def fill(
        self, tensor: torch.Tensor, value: Value, name: str, write: Write | None = None
    ) -> Loaded | None:
        """Fill it, or load it."""
        if isinstance(value, FromCheckpoint):
            return load_noted(self._session, self._checkpoints, self._loads, tensor, value, name, torch.randn)
        return super().fill(tensor, value, name, write)


def load_noted(
    session: Session,
    checkpoints: PlannedCheckpoints,
    loads: Sequence[Load],
    tensor: torch.Tensor,
    value: FromCheckpoint,
    name: str,
    draw: Callable[[tuple[int, ...]], torch.Tensor],
) -> Loaded:
    """Load a tensor, of which the record is told."""
    found: list[Loaded] = []

    def load(target: torch.Tensor) -> None:
        if not found:
            with set_aside():
                found.append(checkpoints.load(target, value, name, draw))
            return
        # Again, when these are closed.
        with contextlib.closing(PlannedCheckpoints(loads)) as again:
            again.load(target, value, name, draw)

    call = {"type": "Pretrained", "checkpoint": value.source, "key": value.key}
    reason = f"it is loaded from {value.source}"
    session.note_write(tensor, None, load, call=call, draws=value.random, reason=reason)
    return found[0]


def _call_of(write: Write) -> dict[str, Any]:
    """The initializer of a write, as a record tells it."""
    known = write.initializer
    return dict(known) if isinstance(known, Mapping) else {"type": write.value.kind}


@contextlib.contextmanager
def apart_from_record(model: nn.Module | None, *, looking: bool, draws: bool = False) -> Iterator[None]:
    """Within this, what a model holds is there, and our own work with it is no part of recorded code.

    ``looking``: Code gets to see what comes of these numbers. ``draws``: It may draw a seed.
    """
    session = current_session()
    if session is None:
        yield
        return
    versions: list[tuple[torch.Tensor, int]] = []
    for tensor in () if model is None else stored_in(model):
        session.recorder.begin_write(tensor)
        session.recorder.make_real(tensor, looking=looking)
        if not tensor.is_inference():
            versions.append((tensor, tensor._version))
    try:
        with set_aside(draws=draws):
            yield
    finally:
        for tensor, version in versions:
            if tensor._version != version:
                _tell(session, tensor, None, draws=True)


def must_be_apart(plan: Plan, names: Names, seed: int | None, rng: str) -> bool:
    """Whether applying a plan cannot be followed write by write."""
    entries = list(names.entries.values())
    stored = [tensor for entry in entries for tensor in entry.stored]
    if any(is_sharded(each) or each.device.type not in ("cpu", "meta") for each in stored):
        return True
    if has_kind(plan, FromBatch) or has_kind(plan, Hooked):
        return True
    runs_code = plan.tape is not None and bool(plan.tape.calls)
    # Where code runs, values that refer to others are the code's, which runs.
    items = () if runs_code else (*plan.parameters.values(), *plan.buffers.values())
    if rng == "stream" and seed is None and any(_refers(each.value) for each in items):
        return True
    if plan.record is not None and rng == "stream" and has_kind(plan, Opaque):
        return True
    parametrized = any(entry.holder is not None for entry in entries)
    return rng == "stream" and (parametrized or (seed is not None and runs_code))


def _refers(value: Value) -> bool:
    """Whether a value shares numbers with another tensor in a form that no name says."""
    value = value.value if isinstance(value, CopyOf) else value
    return value.random and not isinstance(value, FromCheckpoint) and recorded_value(value, "", None) is None


def applied_apart(
    session: Session, plan: Plan, names: Names, apply: Callable[[], Ledger], *, draws: bool
) -> Ledger:
    """Apply a plan in memory, and tell the record what tensors hold then; ``draws``: its seed is drawn."""
    recorder = session.recorder
    runs_code = plan.tape is not None and bool(plan.tape.calls)
    stored = {
        id(tensor): (entry.name, tensor)
        for entry in (*names.parameters, *names.buffers)
        for tensor in entry.stored
    }
    for name, tensor in stored.values():
        item = plan.parameters.get(name)
        if item is None or item.value.kind != "Keep" or runs_code:
            recorder.check_own(tensor)
        recorder.begin_write(tensor)
        # Code may compute from what is there, of which nobody knows afterwards.
        recorder.make_real(tensor, looking=runs_code)
    try:
        with set_aside(draws=draws):
            ledger = apply()
    except BaseException:
        for _, tensor in stored.values():
            _tell(session, tensor, None, draws=draws)
        raise
    alone = _alone(tensor for _, tensor in stored.values())
    for name, tensor in stored.values():
        entry = ledger.entries.get(name)
        if entry is None or entry.by == "nobody":
            continue
        known = not entry.altered and (entry.by != "code" or entry.meant) and id(tensor) in alone
        value = entry.value if known and not draws else None
        if value is not None:
            # What torch's generator drew, no seed of the stream says.
            known = ledger.rng == "stream" or not value.random
            value = recorded_value(value, name, ledger.seed or 0) if known else None
        _tell(session, tensor, value, draws=draws)
    return ledger


def _tell(session: Session, tensor: torch.Tensor, value: Value | None, *, draws: bool) -> None:
    write: Callable[[torch.Tensor], object]
    if value is None:
        with set_aside():
            write = functools.partial(_copy, tensor.detach().clone())
    else:
        value = copy(value)
        write = functools.partial(fill_stream, value=value, seed=0, name="")
    reason = "initcfg made it together with what code of the model's own makes, or a batch"
    session.recorder.end_write(tensor, value, write, draws=draws and value is None, reason=reason)
    session.on_sampler(tensor, OWN_WRITE)


def _copy(source: torch.Tensor, target: torch.Tensor) -> None:
    target.copy_(source)


def _alone(tensors: Iterable[torch.Tensor]) -> set[int]:
    """Those that share their memory with no other."""
    found: dict[int, list[int]] = {}
    for each in tensors:
        found.setdefault(storage_of(each), []).append(id(each))
    return {here[0] for here in found.values() if len(here) == 1}
