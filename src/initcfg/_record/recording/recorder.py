"""The recorder: a dispatch mode under which constructors run without writing their weights.

Memory is handed out untouched. Operations that fill a tensor with something that has a name are noted, and
so is everything that is computed from such a tensor, as long as its shape can be told without numbers. What
code looks at is computed there and then. Everything is logged, so that it can be done again.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from initcfg._model import DispatchMode, tensors_in, written_tensors
from initcfg._record.recording import aten
from initcfg._record.recording.aten import Args, Kwargs, is_plain
from initcfg._record.recording.layers import Layer, copied, covered, transformed
from initcfg._record.recording.leaves import leaves, mapped
from initcfg._record.recording.log import hidden
from initcfg._record.recording.own_writes import OwnWrites
from initcfg._record.recording.refusals import is_ordinary, may_be_refused, try_numbers
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import Operand, TrackedStorage
from initcfg._stream.writing import made_by
from initcfg.values import Constant

_FORCED = object()


class Recorder(OwnWrites, DispatchMode):
    """Records writes instead of doing them; those on parameters that were made elsewhere may be refused."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Args = (), kwargs: Kwargs | None = None) -> Any:
        """Record the operation, or run it on real numbers."""
        with self.lock:
            if not self._passing and (made := self._record_usual(func, args, kwargs)) is not None:
                return made
            return self._record(func, args, kwargs or {})

    def _record(self, func: Any, args: Args, kwargs: Kwargs) -> Any:
        if self._passing or getattr(func, "_schema", None) is None:
            return func(*args, **kwargs)
        func = aten.as_it_says(func, args)
        facts = aten.facts_of(func)
        operation = facts.operation
        named = None
        if operation in aten.MAKERS and "out" not in kwargs:
            named = self._make(operation, func, args, kwargs)
        elif operation in aten.DRAWERS and "out" not in kwargs:
            named = self._draw(operation, args, kwargs)
        elif operation == "from_file":
            # The file may be gone later, or another.
            named = func(*args, **kwargs)
            self.track_foreign(named, fresh=True, outside=True)
        if named is not None:
            return named
        if facts.views:
            if operation == "lift_fresh":
                self.track_foreign(args[0], fresh=True)
            return func(*args, **kwargs)
        if operation == "copy_" and _same_place(*args[:2]):
            # What x[0] += 1 ends with.
            return args[0]
        if self.handed_out:
            operands = self.all_tracked(_tensors(args, kwargs))
            if any(each.handed_out for each in operands):
                return self._really(func, args, kwargs, operands)
        if not facts.mutable:
            named = self._record_result(operation, func, args, kwargs)
        elif self._record_fill(facts, func, args, kwargs):
            named = args[0]
        if named is not None:
            return named
        operands = self.all_tracked(_tensors(args, kwargs))
        if any(each.lazy for each in operands):
            result = self._record_any(func, args, kwargs)
            if result is not _FORCED:
                return result
        return self._really(func, args, kwargs, operands)

    def _record_fill(self, facts: aten.Facts, func: Any, args: Args, kwargs: Kwargs) -> bool:
        """Note an operation in place that has a name, or do it where that is all there is to it."""
        if "out" not in kwargs and self._record_write(facts.named, func, args, kwargs):
            return True
        return facts.numbers and self._fill_now(facts, args, kwargs)

    def _fill_now(self, facts: aten.Facts, args: Args, kwargs: Kwargs) -> bool:
        """Fill memory that nothing waits for with a number, as :meth:`_really` does; False if it is another.

        Such are the counters of batch normalization, which each layer sets to zero again.
        """
        if not args or kwargs:
            return False
        target, *numbers = args
        tracked = self.tracked(target) if is_plain(target) else None
        if tracked is None or tracked.waiting or tracked.original is not None or tracked.handed_out:
            return False
        if tracked.foreign and target.numel() > 1:
            # Perhaps it lies on an array.
            return False
        if isinstance(target, torch.nn.Parameter) or any(isinstance(each, torch.Tensor) for each in numbers):
            return False
        known = aten.filled_with(facts.named, tuple(numbers), {})
        if known is None:
            return False
        if tracked.foreign:
            self.track_foreign(target)
        region = region_of(target)
        whole = region.covers(tracked.whole)
        operand = Operand(tracked, region, tracked.snapshot(region))
        before = None if whole else {id(tracked): tracked.snapshot(tracked.whole)}
        facts.func(*args)
        layer = self._layer(region, known, facts.operation)
        self._add_filling(
            facts.func, (operand, *numbers), {}, tracked, layer, before=before, overwrites=whole, done=True
        )
        tracked.write(layer)
        return True

    def _make(self, operation: str, func: Any, args: Args, kwargs: Kwargs) -> torch.Tensor | None:
        """The tensor that ``zeros`` and its like make; None if what it holds is not known."""
        of_random = False
        for each in args[1:]:
            if isinstance(each, torch.Tensor) and each.dim() == 0 and self.is_random(each):
                of_random = True
        known = None if of_random else aten.MAKERS[operation](args)
        if known is None and "full" in operation:
            return None
        # The arguments of new_zeros and its like lend their type and nothing else.
        templates = tuple(map(_unwritten, args))
        tensor = func(*args, **kwargs)
        if known is None:
            self._track(tensor)
        elif (out := self._out(tensor, known, operation)) is not None:
            fill = out.tracked.layers[-1]
            self._add_filling(
                func, templates, kwargs, out.tracked, fill, outs=(out,), overwrites=True, done=True
            )
        return tensor

    def _draw(self, operation: str, args: Args, kwargs: Kwargs) -> torch.Tensor | None:
        """The unwritten tensor that ``randn`` and its like make; None if it must be drawn."""
        if kwargs.get("generator") is not None or kwargs.get("names") is not None or len(args) != 1:
            return None
        options = {key: item for key, item in kwargs.items() if item is not None}
        if options.get("dtype", torch.get_default_dtype()) not in aten.FLOATS:
            return None
        make = torch.empty_like if operation.endswith("_like") else torch.empty
        tensor = make(args[0], **options)
        tracked = self._track(tensor)
        if tracked is None or tensor.dtype not in aten.FLOATS:
            return None
        fill, value = aten.DRAWERS[operation]
        # A value of its own: those of copies are the same object.
        layer = self._layer(tracked.whole, replace(value), operation)
        self._fill(tracked, layer, getattr(torch.ops.aten, fill).default, (), {})
        return tensor

    def _record_write(self, operation: str, func: Any, args: Args, kwargs: Kwargs) -> bool:
        """Note an in-place operation that has a name; False if it has none."""
        tracked = self._writable(args[0]) if args and kwargs.get("generator") is None else None
        if tracked is None:
            return False
        target, *numbers = args
        region = region_of(target)
        if operation in aten.ELEMENTWISE:
            layers = transformed(tracked.layers, region, operation, args[1:], kwargs, f"{operation}_")
            if layers is None or not tracked.pending:
                return False
            operands = mapped(self._operand, (args, kwargs))
            self.log.add(self._step(func, *operands, writes=[tracked], overwrites=False))
            tracked.layers = layers
            return True
        if operation == "copy":
            return self._copy(tracked, func, args, kwargs)
        if not aten.fills(operation):
            return False
        if any(isinstance(number, torch.Tensor) for number in numbers):
            if any(map(self.is_random, numbers)):
                return False
            for tensor in _tensors(args[1:], {}):
                # A number in a tensor, as in weight[0] = 1.
                self.make_real(tensor)
        if not is_ordinary(args[1:], kwargs):
            try_numbers(func, args, kwargs)
        known = aten.filled_with(operation, args[1:], kwargs)
        if known is None:
            return False
        if not tracked.pending and isinstance(known, Constant):
            found = tracked.snapshot(region)
            if found is not None and found.value == known:
                # A buffer that is reset to what it was made with.
                return True
        numbers = tuple(item.item() if isinstance(item, torch.Tensor) else item for item in numbers)
        layer = self._layer(region, known, operation + "_")
        self._fill(tracked, layer, getattr(torch.ops.aten, operation + "_"), numbers, kwargs)
        return True

    def _copy(self, tracked: TrackedStorage, func: Any, args: Args, kwargs: Kwargs) -> bool:
        target, source = args[:2]
        found = self.tracked(source) if isinstance(source, torch.Tensor) else None
        if found is None or source.shape != target.shape or found is tracked or aten.is_turned(source):
            return False
        region = region_of(target)
        layers = copied(found.layers, region_of(source), region)
        if layers is None:
            return False
        operands, whole = mapped(self._operand, (args, kwargs)), region.covers(tracked.whole)
        self.log.add(self._step(func, *operands, writes=[tracked], overwrites=whole))
        for layer in layers:
            tracked.write(layer)
        return True

    def _record_result(self, operation: str, func: Any, args: Args, kwargs: Kwargs) -> torch.Tensor | None:
        """The unwritten result of a copy or of an elementwise operation that has a name; else None."""
        source = args[0] if args else None
        found = self.tracked(source) if isinstance(source, torch.Tensor) else None
        if found is None or source is None or source.dtype not in aten.FLOATS or aten.is_turned(source):
            return None
        region = region_of(source)
        options: Kwargs = {}
        layers: list[Layer] | None = None
        if operation in aten.COPIES:
            dtype = kwargs.get("dtype") or source.dtype
            if dtype not in aten.FLOATS or set(kwargs) - set(aten.COPY_OPTIONS):
                return None
            kept = ("dtype", "device", "memory_format")
            options = {key: item for key, item in kwargs.items() if key in kept and item is not None}
            layers = found.layers
        elif operation in aten.ELEMENTWISE:
            layers = transformed(found.layers, region, operation, args[1:], kwargs, operation)
        elif not aten.pointwise(func):
            return None
        if layers is None:
            return self._of_constants(func, args, kwargs)
        if covered(layers, region) is None:
            return None
        result = torch.empty_like(source, **options)
        layers = copied(layers, region, region_of(result))
        return None if layers is None else self._add_result(func, args, kwargs, result, layers)

    def _of_constants(self, func: Any, args: Args, kwargs: Kwargs) -> torch.Tensor | None:
        """The unwritten result of an elementwise operation on tensors that are constant; else None."""
        small: list[Any] = []
        for item in args:
            if isinstance(item, torch.Tensor):
                tracked = self.tracked(item)
                if tracked is None or aten.is_turned(item):
                    return None
                known = tracked.snapshot(region_of(item))
                if known is None or not isinstance(known.value, Constant):
                    return None
                item = torch.full((1,), known.value.val, dtype=item.dtype, device="cpu")
            small.append(item)
        meta = self._shapes(func, args, kwargs)
        if not isinstance(meta, torch.Tensor) or meta.dtype not in aten.FLOATS:
            return None
        known = Constant(func(*small, **kwargs).item())
        result = _unwritten(meta, "cpu")
        layers = [self._layer(region_of(result), known, aten.operation_of(func))]
        return self._add_result(func, args, kwargs, result, layers)

    def _add_result(
        self, func: Any, args: Args, kwargs: Kwargs, result: torch.Tensor, layers: list[Layer]
    ) -> torch.Tensor | None:
        arguments = tuple(map(self._operand, args))
        tracked = self._track(result)
        if tracked is None:
            return None
        tracked.layers = layers
        self.log.add(self._step(func, arguments, kwargs, outs=(Operand(tracked, tracked.whole),)))
        return result

    def _record_any(self, func: Any, args: Args, kwargs: Kwargs) -> Any:
        """Note an operation on what is not written yet; ``_FORCED`` if it must be done."""
        if (device := kwargs.get("device")) is not None and torch.device(device).type == "meta":
            # What it makes has no numbers, whatever these are.
            return func(*args, **kwargs)
        operands = [item for item in leaves((args, kwargs)) if isinstance(item, torch.Tensor)]
        if kwargs.get("generator") is not None or not all(map(aten.is_strided, operands)):
            return _FORCED
        if func._schema.is_mutable:
            targets = list(written_tensors(func, args, kwargs))
            if not targets or any(self.tracked(each) is None or not each.numel() for each in targets):
                # An empty target may be given another size.
                return _FORCED
            if may_be_refused(func, args, kwargs, targets):
                return _FORCED
            returns = func._schema.returns
            if returns and (len(targets) > 1 or len(returns) > 1 or returns[0].alias_info is None):
                return _FORCED
            self._note_in_place(func, args, kwargs, targets, done=False)
            return targets[0] if returns else None
        meta = self._shapes(func, args, kwargs)
        if meta is _FORCED:
            return _FORCED
        arguments, options = mapped(self._operand, (args, kwargs))
        result = mapped(partial(_unwritten, device="cpu"), meta)
        made = [item for item in leaves(result) if isinstance(item, torch.Tensor)]
        outs = tuple(self._out(tensor, None, aten.operation_of(func)) for tensor in made)
        self.log.add(self._step(func, arguments, options, outs=outs, draws=aten.draws(func)))
        return result

    def _shapes(self, func: Any, args: Args, kwargs: Kwargs) -> Any:
        """The result on meta tensors; ``_FORCED`` where numbers decide."""

        def meta(item: Any) -> Any:
            return torch.device("meta") if isinstance(item, torch.device) else _unwritten(item, "meta")

        if "quantize" in func._schema.name:
            return _FORCED
        try:
            found = func(*mapped(meta, args), **mapped(meta, kwargs))
        except Exception:
            # No such kernel, or numbers decide; the operation itself says if it is wrong.
            return _FORCED
        tensors = [item for item in leaves(found) if isinstance(item, torch.Tensor)]
        plain = all(type(each) is torch.Tensor and each.is_meta and not each.is_quantized for each in tensors)
        return found if tensors and plain else _FORCED

    def _really(self, func: Any, args: Args, kwargs: Kwargs, operands: list[TrackedStorage]) -> Any:
        """The result of an operation that is done here, and logged."""
        targets = list(written_tensors(func, args, kwargs))
        for each in targets if self._refuse else ():
            self.check_own(each)
        self.compute(operands)
        self._finish_readers(self.all_tracked(targets))
        drawing = aten.draws(func)
        step = self._note_in_place(func, args, kwargs, targets, done=True) if targets else None
        arguments, options = (args, kwargs) if targets else mapped(self._operand, (args, kwargs))
        index = len(self.log.steps) if step is None else step.index
        moving = drawing and not (aten.has_own_generator(kwargs) or aten.only_shapes(args, kwargs))
        with self._drawing(index) if moving else contextlib.nullcontext():
            result = func(*args, **kwargs)
        # Some are known only now.
        written = self.all_tracked(targets)
        for each in written:
            if each.foreign and not each.handed_out:
                # Who made it may hold its memory, too.
                each.outside = self.handed_out = True
        if self.handed_out:
            self._look_again(written)
        made = made_by(func, result)
        self.untold_draws |= moving and step is None and (bool(targets) or not made)
        if step is not None:
            for tensor in targets:
                self._note_size(step, tensor)
        elif torch.Tag.dynamic_output_shape in func.tags or not (made and all(map(_followed, made))):
            self._note_look(operands)
            self.unfollowed += operands if made and not all(map(_followed, made)) else ()
        if made and (step is not None or not targets):
            outs = tuple(self._out(tensor, None, aten.operation_of(func)) for tensor in made)
            if step is not None:
                self._note_outs(step, outs)
            else:
                why = hidden(args, kwargs)
                self.log.add(
                    self._step(func, arguments, options, outs=outs, draws=drawing, done=True, hidden=why)
                )
        return result


def _tensors(args: Args, kwargs: Kwargs) -> list[torch.Tensor]:
    return [tensor for item in (*args, *kwargs.values()) for tensor in tensors_in(item)]


def _followed(tensor: torch.Tensor) -> bool:
    """Whether what becomes of the numbers in a tensor is recorded, or there are none."""
    return is_plain(tensor) or tensor.is_meta


def _same_place(target: Any, source: Any) -> bool:
    """Whether a tensor is copied onto itself."""
    return (
        is_plain(target)
        and is_plain(source)
        and target.untyped_storage()._cdata == source.untyped_storage()._cdata
        and region_of(target) == region_of(source)
    )


def _unwritten(item: Any, device: str | None = None) -> Any:
    """In place of a tensor, one of its type and shape that holds nothing."""
    if not isinstance(item, torch.Tensor):
        return item
    device = device or str(item.device)
    return torch.empty_strided(item.shape, item.stride(), dtype=item.dtype, device=device)
