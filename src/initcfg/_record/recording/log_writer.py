"""Recorded operations as data: where their operands lie, and what those hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from initcfg._record.recording import aten
from initcfg._record.recording.aten import Args, Kwargs, is_plain
from initcfg._record.recording.content import Known
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.log import operands_in
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import LogStep, Operand, Snapshot, TrackedStorage
from initcfg._record.recording.tracker import StorageTracker
from initcfg.values import Value


class LogWriter(StorageTracker):
    """Writes operations into the log."""

    def _layer(self, tensor: torch.Tensor, known: Known | None, function: str) -> Layer:
        """A write by the code on the stack, through ``function`` unless it called one of torch.nn.init."""
        origin = code_that_writes()
        return Layer(region_of(tensor), known, origin.code, origin.call or {"type": function}, origin.place)

    def _operand(self, item: Any) -> Any:
        if not isinstance(item, torch.Tensor) or not is_plain(item):
            return item
        tracked = self.track_foreign(item)
        assert tracked is not None
        region = region_of(item)
        return Operand(tracked, region, tracked.snapshot(region))

    def _fill(
        self, tracked: TrackedStorage, layer: Layer, func: Callable[..., Any], numbers: Args, kwargs: Kwargs
    ) -> None:
        """Note that a region is filled with a named value."""
        args, whole = (Operand(tracked, layer.region), *numbers), layer.region.covers(tracked.whole)
        self.log.add(self._step(func, args, kwargs, writes=[tracked], fill=layer, overwrites=whole))
        tracked.write(layer)

    def _note_in_place(
        self, func: Any, args: Args, kwargs: Kwargs, targets: Sequence[torch.Tensor], *, done: bool
    ) -> LogStep | None:
        """Note an operation that writes these targets, of which at most a number is known."""
        arguments, options = tree_map(self._operand, (args, kwargs))
        changed = self.all_tracked(targets)
        if not changed:
            return None
        name = aten.operation_of(func)
        operation = name.removesuffix("_")
        single = len(targets) == 1
        whole = single and region_of(targets[0]).covers(changed[0].whole)
        known = self._number_filled(operation, args) if single else None
        layers = [self._layer(each, known, name) for each in targets if self.tracked(each) is not None]
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

    def _note_size(self, step: LogStep, tensor: torch.Tensor) -> None:
        """An operation may have given an empty target the size of its result."""
        tracked = self.tracked(tensor)
        if tracked is not None and not tracked.whole.elements and tensor.numel():
            step.hidden = "it gives a tensor another size"
            tracked.whole = region_of(tensor)
            tracked.layers = [self._layer(tensor, None, "?")]

    def _note_outs(self, step: LogStep, outs: tuple[Operand | None, ...]) -> None:
        """An operation that changes some tensors has made others too."""
        made = tuple(out.tracked for out in outs if out is not None)
        step.outs, step.writes = outs, (*step.writes, *made)
        for tracked in made:
            tracked.writers.append(step)

    def _number_filled(self, operation: str, args: Args) -> Known | None:
        """The number that ``fill_`` and ``zero_`` write, where it stands in the code."""
        made = self.all_tracked(each for each in args[1:] if isinstance(each, torch.Tensor))
        if operation not in ("fill", "zero") or not all(each.foreign for each in made):
            return None
        with self._through():
            return aten.filled_with(operation, args[1:], {})

    def _out(self, tensor: torch.Tensor, known: Known | None, function: str) -> Operand | None:
        """Where a new tensor lies, which this function made."""
        tracked = self._track(tensor)
        if tracked is None:
            return None
        layer = self._layer(tensor, known, function)
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
        reads = dict.fromkeys(each.tracked for each in operands_in((args, kwargs)))
        if fill is not None or overwrites:
            others = {each.tracked for each in operands_in((args[1:], kwargs))}
            for only_written in set(writes) - others:
                reads.pop(only_written, None)
        made = dict.fromkeys(out.tracked for out in outs if out is not None)
        known = None if fill is None else fill.known
        return LogStep(
            len(self.log.steps),
            func,
            args,
            kwargs,
            tuple(reads),
            (*writes, *made),
            outs,
            fill=Snapshot(known, (known,), (known,)) if isinstance(known, Value) else None,
            before={} if overwrites else {id(each): each.snapshot(each.whole) for each in writes},
            overwrites=overwrites,
            **fields,
        )


def hidden(args: Args, kwargs: Kwargs) -> str | None:
    """Why doing an operation again would not give the same; None if it would."""
    if kwargs.get("generator") is not None:
        return "it draws from a generator of its own"
    for item in tree_flatten((args, kwargs))[0]:
        if isinstance(item, torch.Tensor) and not is_plain(item) and not item.is_meta:
            usual = type(item) is torch.Tensor
            kind = "conjugated, sparse or quantized tensor" if usual else type(item).__name__
            return f"it works on a {kind}, which is not followed"
    return None
