"""LogWriter: a recorded operation as data, with where its operands lie and what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from initcfg._record.recording.aten import OVERWRITING, draws, is_plain
from initcfg._record.recording.content import Known
from initcfg._record.recording.layers import Layer
from initcfg._record.recording.log import operands_in
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import LogStep, Operand, Snapshot, TrackedStorage
from initcfg._record.recording.tracker import StorageTracker
from initcfg.values import Constant, Value


class LogWriter(StorageTracker):
    """Writes operations into the log."""

    def _layer(self, tensor: torch.Tensor, known: Known | None, call: dict[str, object]) -> Layer:
        origin = code_that_writes()
        return Layer(region_of(tensor), known, origin.code, origin.call or call, origin.place)

    def _operands(self, items: Any) -> Any:
        return tree_map(self._operand, items)

    def _operand(self, item: Any) -> Any:
        if not isinstance(item, torch.Tensor) or not is_plain(item):
            return item
        tracked = self.tracked(item) or self.track_foreign(item)
        if tracked is None:
            return item
        region = region_of(item)
        return Operand(tracked, region, tracked.snapshot(region))

    def _fill(
        self,
        tracked: TrackedStorage,
        layer: Layer,
        func: Callable[..., Any],
        numbers: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Note that a region is filled with a named value."""
        whole = layer.region.covers(tracked.whole)
        target = Operand(tracked, layer.region)
        before = {} if whole else {id(tracked): tracked.snapshot(tracked.whole)}
        tracked.write(layer)
        self._add(
            func,
            (target, *numbers),
            kwargs or {},
            writes=(tracked,),
            fill=layer,
            target=target,
            before=before,
            overwrites=whole,
        )

    def _in_place(
        self, func: Any, args: Any, kwargs: Any, tracked: TrackedStorage, *, overwrites: bool = False
    ) -> LogStep:
        arguments, options = self._operands((args, kwargs))
        before = {} if overwrites else {id(tracked): tracked.snapshot(tracked.whole)}
        return self._step(func, arguments, options, writes=(tracked,), before=before, overwrites=overwrites)

    def _note_in_place(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        targets: list[torch.Tensor],
        *,
        done: bool,
    ) -> LogStep | None:
        arguments, options = self._operands((args, kwargs))
        changed = [each for tensor in targets if (each := self.tracked(tensor)) is not None]
        if not changed:
            return None
        operation = func._schema.name.removeprefix("aten::").removesuffix("_")
        overwrites = (
            len(targets) == 1 and operation in OVERWRITING and region_of(targets[0]).covers(changed[0].whole)
        )
        before = {id(each): None if overwrites else each.snapshot(each.whole) for each in changed}
        known = self._number_filled(operation, args) if len(targets) == 1 else None
        fields: dict[str, Any] = {}
        for tensor in targets:
            each = self.tracked(tensor)
            if each is not None:
                layer = self._layer(tensor, known, {"type": func._schema.name[6:]})
                each.write(layer)
                if known is not None:
                    fields = {"fill": layer, "target": Operand(each, layer.region)}
        step = self._add(
            func,
            arguments,
            options,
            writes=tuple(dict.fromkeys(changed)),
            draws=draws(func),
            before=before,
            overwrites=overwrites,
            done=done,
            **fields,
        )
        step.hidden = hidden(args, kwargs)
        return step

    def _note_size(self, step: LogStep, tensor: torch.Tensor) -> None:
        """An operation may have given an empty target the size of its result."""
        tracked = self.tracked(tensor)
        if tracked is not None and not tracked.whole.elements and tensor.numel():
            step.hidden = "it gives a tensor another size"
            tracked.whole = region_of(tensor)
            tracked.layers = [self._layer(tensor, None, {"type": "?"})]

    def _note_outs(self, step: LogStep, outs: tuple[Operand | None, ...]) -> None:
        """An operation that changes some tensors has made others too."""
        made = tuple(out.tracked for out in outs if out is not None)
        step.outs, step.writes = outs, (*step.writes, *made)
        for tracked in made:
            tracked.writers.append(step)

    def _number_filled(self, operation: str, args: tuple[Any, ...]) -> Known | None:
        """The number that ``fill_`` and ``zero_`` write, where it stands in the code."""
        if operation == "zero":
            return Constant(0.0)
        if operation != "fill":
            return None
        number = args[1]
        if isinstance(number, torch.Tensor):
            tracked = self.tracked(number)
            if number.numel() != 1 or (tracked is not None and not tracked.foreign):
                return None
            with self._through():
                number = number.item()
        exact = isinstance(number, (bool, float)) or (isinstance(number, int) and abs(number) < 1 << 53)
        return Constant(float(number)) if exact else None

    def _held_out(self, tensor: torch.Tensor, func: Any) -> Operand | None:
        tracked = self._track(tensor)
        if tracked is None:
            return None
        tracked.write(self._layer(tensor, None, {"type": func._schema.name[6:]}))
        return Operand(tracked, region_of(tensor))

    def _add(self, *args: Any, **fields: Any) -> LogStep:
        step = self._step(*args, **fields)
        self.log.add(step)
        return step

    def _step(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        writes: tuple[TrackedStorage, ...] = (),
        outs: tuple[Operand | None, ...] = (),
        fill: Layer | None = None,
        **fields: Any,
    ) -> LogStep:
        reads = dict.fromkeys(each.tracked for each in operands_in((args, kwargs)))
        target = fields.get("target")
        if target is not None or fields.get("overwrites"):
            # A target that is only written.
            for each in writes:
                if not any(o.tracked is each for o in operands_in((args[1:], kwargs))):
                    reads.pop(each, None)
        made = dict.fromkeys(out.tracked for out in outs if out is not None)
        known = (
            Snapshot(fill.known, (fill.known,), (fill.known,))
            if fill and isinstance(fill.known, Value)
            else None
        )
        return LogStep(
            len(self.log.steps),
            func,
            args,
            kwargs,
            tuple(reads),
            (*writes, *made),
            outs,
            fill=known,
            **fields,
        )


def hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why doing an operation again would not give the same; None if it would."""
    if kwargs.get("generator") is not None:
        return "it draws from a generator of its own"
    for item in tree_flatten((args, kwargs))[0]:
        if isinstance(item, torch.Tensor) and not is_plain(item) and not item.is_meta:
            kind = (
                type(item).__name__
                if type(item) is not torch.Tensor
                else "conjugated, sparse or quantized tensor"
            )
            return f"it works on a {kind}, which is not followed"
    return None
