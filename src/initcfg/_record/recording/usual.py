"""The usual operations, of which nearly all constructors are: recorded with few looks at each.

A plain tensor is made, and filled from end to end with a number or with independent ones. The recorder knows
more of every operation; what comes of these is the same there. Whatever is not as usual is left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from initcfg._record.recording.aten import FLOATS, Args, Kwargs
from initcfg._record.recording.content import Known
from initcfg._record.recording.layers import Layer, value_of_known
from initcfg._record.recording.origin import code_that_writes
from initcfg._record.recording.regions import Region
from initcfg._record.recording.storage import LogStep, Operand, TrackedStorage
from initcfg._record.recording.tracker import StorageTracker
from initcfg.values import Constant, Normal, Uniform, Value

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_OPTIONS = frozenset(("dtype", "device", "pin_memory", "memory_format"))
_ZERO, _ONE = Constant(0.0), Constant(1.0)


class _Usual(NamedTuple):
    """An operation; it is held, so that no other gets its address.

    Attributes:
        operation: The overload.
        logged: What the log has for it.
        name: Its name: ``"fill_"``.
        value: Of its numbers, what it fills with; None where that is not usual.
        make: If it makes a tensor: torch's function, which does the same in a third of the time.
    """

    operation: Any
    logged: Any
    name: str
    value: Callable[..., Value | None]
    make: Callable[..., torch.Tensor] | None = None


def _number(number: Any = None, *more: Any) -> Value | None:
    kind = type(number)
    # Of others it depends on the type whether torch takes them.
    if more or not (kind is float or kind is bool or kind is int) or not -65504 <= number <= 65504:
        return None
    return Constant(float(number))


def _uniform(low: Any = 0.0, high: Any = 1.0, *more: Any) -> Value | None:
    usual = (
        type(low) in (float, int)
        and type(high) in (float, int)
        and -32752 <= low <= high <= 32752
        and not more
    )
    return Uniform(float(low), float(high)) if usual else None


def _normal(mean: Any = 0.0, std: Any = 1.0, *more: Any) -> Value | None:
    usual = type(mean) in (float, int) and type(std) in (float, int) and std >= 0 and not more
    return Normal(float(mean), float(std)) if usual else None


def _zero(*more: Any) -> Value | None:
    return None if more else _ZERO


_ATEN = torch.ops.aten
_ALL = (
    _Usual(_ATEN.zero_.default, _ATEN.zero_, "zero_", _zero),
    _Usual(_ATEN.fill_.Scalar, _ATEN.fill_, "fill_", _number),
    _Usual(_ATEN.uniform_.default, _ATEN.uniform_, "uniform_", _uniform),
    _Usual(_ATEN.normal_.default, _ATEN.normal_, "normal_", _normal),
    _Usual(_ATEN.empty.memory_format, None, "empty", lambda: None, torch.empty),
    _Usual(_ATEN.zeros.default, _ATEN.zeros.default, "zeros", lambda: _ZERO, torch.zeros),
    _Usual(_ATEN.ones.default, _ATEN.ones.default, "ones", lambda: _ONE, torch.ones),
)
# By address, since torch hashes operations in Python.
_USUAL = {id(each.operation): each for each in _ALL}


class UsualOperations(StorageTracker):
    """Records the usual operations."""

    def _record_usual(self, func: Any, args: Args, kwargs: Kwargs | None) -> torch.Tensor | None:
        """The result of an operation that is as usual; None of any other, of which nothing is noted."""
        usual = _USUAL.get(id(func))
        if usual is None:
            return None
        if usual.make is not None:
            return self._make_as_usual(usual, usual.make, args, kwargs or {})
        return None if kwargs else self._fill_as_usual(usual, args)

    def _make_as_usual(
        self, usual: _Usual, make: Callable[..., torch.Tensor], args: Args, kwargs: Kwargs
    ) -> torch.Tensor | None:
        device = kwargs.get("device")
        if (
            len(args) != 1
            or not _OPTIONS.issuperset(kwargs)
            or (kwargs.get("dtype") or torch.get_default_dtype()) not in FLOATS
            or not (device is None or device.type == "cpu")
            # Code's own mode would see torch's function.
            or torch._C._len_torch_function_stack()
        ):
            return None
        tensor = make(args[0], **kwargs)
        tracked = self._track(tensor)
        known = usual.value()
        if tracked is not None and known is not None:
            whole = tracked.whole
            tracked.layers = [_layer(whole, known, usual.name)]
            self._log_filling(
                usual.logged, args, kwargs, tracked, known, outs=(Operand(tracked, whole),), done=True
            )
        return tensor

    def _fill_as_usual(self, usual: _Usual, args: Args) -> torch.Tensor | None:
        target, *numbers = args
        tracked = self._filled_whole(target)
        if tracked is None or (known := usual.value(*numbers)) is None:
            return None
        layers, whole = tracked.layers, tracked.whole
        if len(layers) > 1 or (layers and layers[0].region != whole):
            return None
        random = known.random
        if layers and not random and value_of_known(layers[0].known) == known and not tracked.pending:
            # A buffer that is reset to what it was made with.
            return target
        layer = _layer(whole, known, usual.name)
        if random and (again := self.repeats.draw((None, known, whole), known)) is not known:
            known, layer = again, layer._replace(known=again)
        self._log_filling(usual.logged, (Operand(tracked, whole), *numbers), {}, tracked, known)
        tracked.layers = [layer]
        return target

    def _log_filling(
        self, func: Any, args: Args, kwargs: Kwargs, tracked: TrackedStorage, value: Value, **fields: Any
    ) -> None:
        index = len(self.log.steps)
        self.log.add(
            LogStep(index, func, args, kwargs, (), (tracked,), value=value, overwrites=True, **fields)
        )

    def _filled_whole(self, target: Any) -> TrackedStorage | None:
        """The storage of a plain tensor that is all that was made there; None of another."""
        if type(target) not in _PLAIN or target.layout is not torch.strided:
            return None
        tracked = self.tracked(target)
        if tracked is None or tracked.exposed or tracked.foreign:
            return None
        sizes, strides, offset, dtype = tracked.whole
        same = (
            target.dtype is dtype
            and dtype in FLOATS
            and target.shape == sizes
            and target.stride() == strides
            and target.storage_offset() == offset
            and target.is_contiguous()
            and not target.is_neg()
        )
        return tracked if same else None


def _layer(region: Region, known: Known, operation: str) -> Layer:
    """A write by the code that is above the dispatch of the operation."""
    # What is between is ours.
    code, place, call = code_that_writes(5)
    return Layer(region, known, code, call or {"type": operation}, place)
