"""What a recorder knows: the storages of tensors, by address, and the operations on them, as data."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from initcfg._model import storage_of, unobserved
from initcfg._record.recording import aten
from initcfg._record.recording.aten import Args, Kwargs, is_plain
from initcfg._record.recording.content import Known
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.leaves import leaves, mapped
from initcfg._record.recording.log import Log, Place, fill_bytes, hidden, operands_in, run_step, tensor_at
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import Region, region_of
from initcfg._record.recording.repeats import Repeats
from initcfg._record.recording.storage import LogStep, Operand, TrackedStorage
from initcfg._record.recording.unseen import content_of, holds, written_unseen
from initcfg.values import Value

POISON = 0xFF
"""Each byte of memory that code gets hold of before anybody wrote it: a NaN that nothing computes."""
_PRUNE_EVERY = 256
# Tensors that were made elsewhere are copied when they are met, up to this size.
COPIED_BYTES = 1 << 20
# Of so few, holding and comparing takes no operation.
_FEW_BYTES = 64
# What is patched meanwhile is for the code.
_address_of: Callable[[torch.UntypedStorage], int] = vars(torch._C.StorageBase)["data_ptr"]


class _Through:
    """Operations pass a tracker by, and are ours."""

    def __init__(self, tracker: StorageTracker) -> None:
        self._tracker = tracker

    def __enter__(self) -> None:
        self._before, self._tracker._passing = self._tracker._passing, True
        self._ours = unobserved()
        self._ours.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._ours.__exit__(*error)
        self._tracker._passing = self._before


class StorageTracker:
    """Storages by address, and the log. Operations that draw are done within ``drawing(index)``."""

    def __init__(self, drawing: Callable[[int], contextlib.AbstractContextManager[object]]) -> None:
        super().__init__()
        # Other threads may work for the code, at the same time.
        self.lock = threading.RLock()
        self.log = Log()
        self.repeats = Repeats()
        # What sparse, quantized and other tensors were made from, which are not followed.
        self.unfollowed: list[TrackedStorage] = []
        # Of the memory that was there before: what nobody had written.
        self.unwritten: set[TrackedStorage] = set()
        self.asks_for_unwritten = True
        # Whether any memory was.
        self.handed_out = False
        # Whether something was drawn that the log does not have.
        self.untold_draws = False
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

    def held(self) -> list[TrackedStorage]:
        """Every storage that somebody else still holds."""
        return [each for each in self._storages.values() if not each.abandoned]

    def unfinished(self) -> list[TrackedStorage]:
        """Every storage that somebody else still holds, and that does not hold yet what it should."""
        return [each for each in self._storages.values() if each.lazy and not each.abandoned]

    def track_existing(self, tensor: torch.Tensor, original: torch.Tensor) -> None:
        """Take in a tensor that was there before; its numbers are those of another, fetched if need be."""
        if self.tracked(tensor) is None:
            tracked = self._track(tensor)
            assert tracked is not None
            tracked.before, tracked.original = True, original.untyped_storage()

    def track_foreign(
        self, tensor: torch.Tensor, *, fresh: bool = False, outside: bool = False
    ) -> TrackedStorage | None:
        """Take in a tensor that was made elsewhere (``fresh``: just now), with what it holds.

        On memory from ``outside`` operations do not wait, since it may change meanwhile.
        """
        tracked = self.tracked(tensor)
        if tracked is not None:
            self._check_unseen(tracked)
        elif (tracked := self._track(tensor)) is not None:
            storage = tensor.untyped_storage()
            size = storage.nbytes()
            if size <= _FEW_BYTES and tensor.is_cpu:
                tracked.held = ctypes.string_at(_address_of(storage), size)
            else:
                with self.through(), torch.no_grad():
                    data = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload]
                    tracked.held = data.clone() if size <= COPIED_BYTES or outside else data
            tracked.fresh = fresh
            tracked.made = self._layer(tracked.whole, None, "?") if fresh else None
        if outside and tracked is not None and not tracked.handed_out:
            tracked.outside = self.handed_out = True
            tracked.left = tracked.data if tracked.foreign and not tracked.writers else None
            self._look_again([tracked])
        return tracked

    def _check_unseen(self, tracked: TrackedStorage) -> None:
        """Memory that was handed out may have changed: a tensor on that of a NumPy array, say."""
        held, storage = tracked.held, tracked.storage
        if tracked.handed_out and storage is not None:
            with self.through(), torch.no_grad():
                if tracked.left is None or not holds(storage, tracked.left):
                    self._note_unseen(tracked)
            return
        if held is None or storage is None or tracked.writers:
            return
        size, address = storage.nbytes(), _address_of(storage)
        if isinstance(held, bytes):
            # A number, which many layers count with.
            if size == len(held) and ctypes.string_at(address, size) == held:
                return
        elif held.data_ptr() == address:
            return
        with self.through(), torch.no_grad():
            if (before := tracked.data) is None or not holds(storage, before):
                self._note_unseen(tracked)
                tracked.exposed, tracked.exposed_at = True, len(self.log.steps)
                self.handed_out = True

    def _note_unseen(self, tracked: TrackedStorage) -> None:
        """Note what memory holds that was written without an operation, as if that were one."""
        # What was written may come from what was drawn before.
        self._note_look([tracked])
        step = written_unseen(len(self.log.steps), tracked)
        self.log.add(step)
        tracked.left = step.args[1]
        self._forget(tracked)

    def _forget(self, tracked: TrackedStorage) -> None:
        """Of what is written nothing more is known than who wrote it."""
        tracked.layers = [layer._replace(known=None) for layer in tracked.layers] or [
            self._layer(tracked.whole, None, "?")
        ]

    def _look_again(self, written: Iterable[TrackedStorage]) -> None:
        """Operations have written this memory; of what was handed out, remember what it holds since."""
        for each in written:
            if each.handed_out and each.storage is not None:
                self._forget(each)
                with self.through(), torch.no_grad():
                    each.left = content_of(each.storage)

    def see_unseen(self) -> None:
        """Note what was written until now to all memory that was handed out."""
        if self.handed_out:
            for each in list(self._storages.values()):
                if each.handed_out:
                    self._check_unseen(each)

    def is_random(self, item: object) -> bool:
        """Whether it is a tensor that random numbers make."""
        found = self.tracked(item) if isinstance(item, torch.Tensor) else None
        return found is not None and any(step.random for step in self.log.sliced(found))

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
        with self.lock:
            tracked = None if self._passing else self.tracked(tensor)
            if tracked is None and exposing and not self._passing:
                tracked = self.track_foreign(tensor)
            if tracked is None:
                return
            if looking or exposing:
                self._note_look([tracked])
            self.compute([tracked])
            if exposing:
                self._expose(tracked)

    def _expose(self, tracked: TrackedStorage) -> None:
        """Whatever it is that gets hold of memory finds there, and leaves there, what the code means."""
        self._finish_readers([tracked])
        if not tracked.exposed:
            self._poison(tracked)
            tracked.exposed, tracked.exposed_at = True, len(self.log.steps)
            self.handed_out = True
            self._look_again([tracked])

    def _finish_readers(self, changing: Iterable[TrackedStorage]) -> None:
        """What waits to be read from a storage must be done before it changes."""
        waiting = [step for each in changing for step in each.waiting.values()]
        self.compute([each for step in waiting for each in step.writes])

    def _poison(self, tracked: TrackedStorage) -> None:
        """Mark memory that nobody wrote, so that it can be told what code writes there unseen."""
        known = tracked.writers or tracked.foreign or (tracked.before and tracked not in self.unwritten)
        if not known and tracked.storage is not None and tracked.whole.dtype.is_floating_point:
            with self.through():
                fill_bytes(tracked.storage, POISON)
            tracked.poisoned = True

    def compute(self, wanted: Iterable[TrackedStorage]) -> None:
        """Do what was recorded for these storages, in the order of recording."""
        wanted = [each for each in wanted if each.lazy]
        if wanted:
            with self.through(), torch.no_grad():
                self.log.do(self.log.due(wanted), self.run_waiting)
                for each in wanted:
                    each.fetch()

    def run_waiting(self, step: LogStep, place: Place) -> None:
        """Do an operation that was recorded."""
        for each in (*step.reads, *step.writes):
            each.fetch()
        with self._drawing(step.index) if step.random else contextlib.nullcontext():
            run_step(step, place)

    def through(self) -> contextlib.AbstractContextManager[None]:
        """Within this, operations pass by."""
        return _Through(self)

    def _note_look(self, storages: Iterable[TrackedStorage]) -> None:
        """Code sees numbers: what was drawn for them is not the stream's to draw again."""
        place = None
        for each in storages:
            for step in self.log.sliced(each):
                if step.seen is None and step.random:
                    place = place or code_that_writes().place
                    step.seen, self.log.looked = place, True

    def _layer(self, region: Region, known: Known | None, function: str) -> Layer:
        """A write by the code on the stack, through ``function`` unless it called one of torch.nn.init."""
        origin = code_that_writes()
        return Layer(region, known, origin.code, origin.call or {"type": function}, origin.place)

    def _operand(self, item: Any) -> Any:
        if not isinstance(item, torch.Tensor) or not aten.is_strided(item):
            return item
        region = region_of(item)
        if aten.is_turned(item):
            with self.through():
                tracked = self.track_foreign(tensor_at(item.untyped_storage(), region))
            assert tracked is not None
            return Operand(tracked, region, None, (item.is_conj(), item.is_neg()))
        tracked = self.track_foreign(item)
        assert tracked is not None
        return Operand(tracked, region, tracked.snapshot(region))

    def _fill(
        self, tracked: TrackedStorage, layer: Layer, func: Callable[..., Any], numbers: Args, kwargs: Kwargs
    ) -> None:
        """Note that a region is filled with a named value."""
        if layer.known is not None and layer.known.random:
            overload = isinstance(func, torch._ops.OpOverload)
            what = (aten.operation_of(func) if overload else None, layer.known, layer.region)
            layer = layer._replace(known=self.repeats.draw(what, layer.known))
        args, whole = (Operand(tracked, layer.region), *numbers), layer.region.covers(tracked.whole)
        before = None if whole else {id(tracked): tracked.snapshot(tracked.whole)}
        self._add_filling(func, args, kwargs, tracked, layer, before=before, overwrites=whole)
        tracked.write(layer)

    def _add_filling(
        self,
        func: Callable[..., Any],
        args: Args,
        kwargs: Kwargs,
        tracked: TrackedStorage,
        layer: Layer,
        **fields: Any,
    ) -> None:
        """Log an operation that reads nothing and fills a storage with what a layer says."""
        value = layer.known if isinstance(layer.known, Value) else None
        self.log.add(LogStep(len(self.log.steps), func, args, kwargs, (), (tracked,), value=value, **fields))

    def _note_in_place(
        self, func: Any, args: Args, kwargs: Kwargs, targets: Sequence[torch.Tensor], *, done: bool
    ) -> LogStep | None:
        """Note an operation that writes these targets, of which at most a number is known."""
        arguments, options = mapped(self._operand, (args, kwargs))
        changed = self.all_tracked(targets)
        if not changed:
            return None
        for each in changed:
            self._keep_beginning(each)
        name = aten.operation_of(func)
        operation = name.removesuffix("_")
        single = len(targets) == 1
        whole = single and region_of(targets[0]).covers(changed[0].whole)
        known = self._number_filled(operation, args) if single and not aten.is_turned(targets[0]) else None
        layers = [
            self._layer(region_of(each), known, name) for each in targets if self.tracked(each) is not None
        ]
        step = self._step(
            func,
            arguments,
            options,
            writes=dict.fromkeys(changed),
            fill=None if known is None else layers[-1],
            overwrites=whole and operation in aten.OVERWRITING,
            draws=aten.draws(func),
            done=done,
            hidden=hidden(args, kwargs),
        )
        for each, layer in zip(changed, layers, strict=True):
            each.write(layer)
        self.log.add(step)
        return step

    def _keep_beginning(self, tracked: TrackedStorage) -> None:
        """A large tensor that was made elsewhere is copied when it is written, and not before."""
        held = tracked.held
        if (
            isinstance(held, torch.Tensor)
            and not tracked.writers
            and tracked.storage is not None
            and held.data_ptr() == _address_of(tracked.storage)
        ):
            with self.through(), torch.no_grad():
                tracked.held = held.clone()

    def _note_size(self, step: LogStep, tensor: torch.Tensor) -> None:
        """An operation may have given an empty target the size of its result."""
        tracked = self.tracked(tensor)
        if tracked is not None and not tracked.whole.elements and tensor.numel():
            step.hidden = "it gives a tensor another size"
            tracked.whole = region_of(tensor)
            tracked.layers = [self._layer(tracked.whole, None, "?")]

    def _note_outs(self, step: LogStep, outs: tuple[Operand | None, ...]) -> None:
        """An operation that changes some tensors has made others too."""
        made = tuple(out.tracked for out in outs if out is not None)
        step.outs, step.writes = outs, (*step.writes, *made)
        for tracked in made:
            tracked.writers.append(step)

    def _number_filled(self, operation: str, args: Args) -> Known | None:
        """The number that ``fill_`` and ``zero_`` write, where it stands in the code."""
        if operation not in ("fill", "zero"):
            return None
        for number in args[1:]:
            tracked = self.tracked(number) if isinstance(number, torch.Tensor) else None
            if tracked is not None and (not tracked.foreign or tracked.pending or self.is_random(number)):
                return None
        with self.through():
            return aten.filled_with(operation, args[1:], {})

    def _out(self, tensor: torch.Tensor, known: Known | None, function: str) -> Operand | None:
        """Where a new tensor lies, which this function made."""
        tracked = self._track(tensor)
        if tracked is None:
            return None
        layer = self._layer(tracked.whole, known, function)
        tracked.write(layer)
        return Operand(tracked, layer.region)

    def _step(
        self,
        func: Callable[..., Any],
        args: Args,
        kwargs: Kwargs,
        *,
        writes: Any = (),
        outs: tuple[Operand | None, ...] = (),
        fill: Layer | None = None,
        overwrites: bool = True,
        **fields: Any,
    ) -> LogStep:
        """A step for the log, before what it writes is noted."""
        first, rest = leaves(args[:1]), leaves((args[1:], kwargs))
        items = [*first, *rest]
        reads = dict.fromkeys([each.tracked for each in items if isinstance(each, Operand)])
        # What is not followed may lie in memory that is.
        reads.update(
            dict.fromkeys(self.all_tracked([each for each in items if isinstance(each, torch.Tensor)]))
        )
        if fill is not None or overwrites:
            others = {each.tracked for each in rest if isinstance(each, Operand)}
            # An operation may read what it overwrites, as x.copy_(x[:, :1]) does.
            overwrites = overwrites and others.isdisjoint(writes)
            for only_written in writes:
                if only_written not in others:
                    reads.pop(only_written, None)
        made = dict.fromkeys(out.tracked for out in outs if out is not None)
        known = None if fill is None else fill.known
        if fields.get("draws"):
            regions = tuple(each.region for each in (*operands_in((args, kwargs)), *outs) if each is not None)
            self.repeats.passed((str(func), regions))
        return LogStep(
            len(self.log.steps),
            func,
            args,
            kwargs,
            tuple(reads),
            (*writes, *made),
            outs,
            value=known if isinstance(known, Value) else None,
            before=None if overwrites else {id(each): each.snapshot(each.whole) for each in writes},
            overwrites=overwrites,
            **fields,
        )
