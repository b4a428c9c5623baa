"""The recorder: a dispatch mode under which constructors run without writing their weights.

Memory is handed out untouched. Operations that fill a tensor with something that has a name are noted;
any other operation that needs a number gets it: what was noted is done first, with torch's generator,
as the constructor meant it. So a model that reads its weights while being built is right, if slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from initcfg._deferral.content import Known
from initcfg._deferral.held import Group, Held, Step
from initcfg._deferral.layers import Layer, copied, covered, parts_of, transformed
from initcfg._deferral.origin import code_that_writes, init_call
from initcfg._deferral.regions import Region, region_of
from initcfg._observe import tensors_in, written
from initcfg._values import Constant, Normal, Uniform, Value

# Operations that hand out memory without reading their arguments; what the new tensor holds.
_MAKERS: dict[str, Callable[[tuple[Any, ...]], Known | None]] = {
    "aten::empty": lambda args: None,
    "aten::empty_like": lambda args: None,
    "aten::empty_strided": lambda args: None,
    "aten::new_empty": lambda args: None,
    "aten::new_empty_strided": lambda args: None,
    "aten::zeros": lambda args: Constant(0.0),
    "aten::zeros_like": lambda args: Constant(0.0),
    "aten::new_zeros": lambda args: Constant(0.0),
    "aten::ones": lambda args: Constant(1.0),
    "aten::ones_like": lambda args: Constant(1.0),
    "aten::new_ones": lambda args: Constant(1.0),
    "aten::full": lambda args: _constant(args[1]),
    "aten::full_like": lambda args: _constant(args[1]),
    "aten::new_full": lambda args: _constant(args[2]),
}
_DRAWERS: dict[str, tuple[str, Value]] = {
    "aten::rand": ("uniform_", Uniform(0.0, 1.0)),
    "aten::rand_like": ("uniform_", Uniform(0.0, 1.0)),
    "aten::randn": ("normal_", Normal(0.0, 1.0)),
    "aten::randn_like": ("normal_", Normal(0.0, 1.0)),
}
_COPIES = ("clone", "_to_copy")
_COPY_OPTIONS = ("dtype", "memory_format", "device", "layout", "pin_memory", "non_blocking")
_ELEMENTWISE = ("mul", "div", "add", "sub", "neg", "erfinv", "clamp", "clamp_min", "clamp_max")
_PRUNE_EVERY = 256
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Recorder(TorchDispatchMode):
    """Records writes instead of doing them.

    Attributes:
        steps: What was recorded and is not done, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._held: dict[int, Held] = {}
        self._made = 0
        self._passing = False

    # -- the mode --------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Record the operation, or run it on real numbers."""
        kwargs = kwargs or {}
        schema = getattr(func, "_schema", None)
        if schema is None or self._passing:
            return func(*args, **kwargs)
        name: str = schema.name
        if "out" not in kwargs:
            if name in _MAKERS:
                return self._make(name, func(*args, **kwargs), args)
            if name in _DRAWERS and (made := self._draw(name, args, kwargs)) is not None:
                return made
        held = [each for tensor in _tensors(args, kwargs) if (each := self.held_by(tensor)) is not None]
        if held:
            if _only_views(schema):
                return func(*args, **kwargs)
            operation = name.removeprefix("aten::")
            if schema.is_mutable:
                if "out" not in kwargs and self._record_write(
                    operation.removesuffix("_"), func, args, kwargs
                ):
                    return args[0]
            elif (made := self._record_result(operation, func, args, kwargs)) is not None:
                return made
        return self._really(func, args, kwargs, held)

    # -- what is recorded ------------------------------------------------------------------------

    def _make(self, name: str, tensor: Any, args: tuple[Any, ...]) -> Any:
        held = self._hold(tensor)
        known = _MAKERS[name](args)
        if held is not None and known is not None:
            held.write(Layer(region_of(tensor), known, code_that_writes(), {"type": name[6:]}))
        return tensor

    def _draw(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The unwritten tensor that ``randn`` and its like make; None if it must be drawn."""
        if kwargs.get("generator") is not None or kwargs.get("names") is not None or len(args) != 1:
            return None
        options = {key: item for key, item in kwargs.items() if item is not None}
        make = torch.empty_like if name.endswith("_like") else torch.empty
        tensor = make(args[0], **options)
        held = self._hold(tensor)
        if held is None:
            return None
        fill, value = _DRAWERS[name]
        alias = self._alias(tensor)
        # A value of its own: those of copies are the same object.
        self._write(held, tensor, replace(value), getattr(alias, fill), {"type": name[6:]})
        return tensor

    def _record_write(self, operation: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Note an in-place operation; False if it must be done."""
        target = args[0] if args else None
        held = self.held_by(target) if isinstance(target, torch.Tensor) else None
        if held is None or target is None or held.exposed or kwargs.get("generator") is not None:
            return False
        if not _disjoint(target):
            return False
        if operation in _ELEMENTWISE:
            layers = transformed(held.layers, region_of(target), operation, args[1:], kwargs)
            if layers is None or not held.pending:
                return False
            held.layers = layers
        elif operation == "copy":
            if not self._copy(held, target, args[1]):
                return False
        else:
            for tensor in _tensors(args[1:], {}):
                # A number in a tensor, as in weight[0] = 1.
                self.make_real(tensor)
            known = _filled_with(operation, args[1:], kwargs)
            if known is None:
                return False
            if not held.pending and _holds(held, region_of(target), known):
                # A buffer that is reset to what it was made with.
                return True
            call = init_call() or {"type": operation + "_"}
            held.write(Layer(region_of(target), known, code_that_writes(), call))
        aliased = tuple(self._alias(item) for item in args)
        self._add_step(held, lambda: func(*aliased, **kwargs))
        return True

    def _copy(self, held: Held, target: torch.Tensor, source: Any) -> bool:
        found = self.held_by(source) if isinstance(source, torch.Tensor) else None
        if found is None or source.shape != target.shape or found is held or found.tainted:
            return False
        layers = copied(found.layers, region_of(source), region_of(target))
        if layers is None:
            return False
        for layer in layers:
            held.write(layer)
        held.tie(found)
        return True

    def _record_result(
        self, operation: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        """The unwritten result of a copy or of an elementwise operation; None if it must be computed."""
        source = args[0] if args else None
        found = self.held_by(source) if isinstance(source, torch.Tensor) else None
        if found is None or source is None or source.dtype not in _FLOATS or found.tainted:
            return None
        region = region_of(source)
        if operation in _COPIES:
            if set(kwargs) - set(_COPY_OPTIONS) or kwargs.get("dtype", source.dtype) not in _FLOATS:
                return None
            options = {key: kwargs[key] for key in ("dtype", "device", "memory_format") if key in kwargs}
            layers: list[Layer] | None = found.layers
        elif operation in _ELEMENTWISE:
            options = {}
            layers = transformed(found.layers, region, operation, args[1:], kwargs)
        else:
            return None
        if layers is None or covered(layers, region) is None:
            return None
        result = torch.empty_like(source, **options)
        layers = copied(layers, region, region_of(result))
        held = None if layers is None else self._hold(result)
        if held is None or layers is None:
            return None
        held.layers = layers
        held.tie(found)
        aliased = tuple(self._alias(item) for item in args)
        alias = self._alias(result)
        self._add_step(held, lambda: alias.copy_(func(*aliased, **kwargs)))
        return result

    def record_sampler(
        self, tensor: torch.Tensor, value: Value, run: Callable[[torch.Tensor], object]
    ) -> bool:
        """Note a call of a known sampler; False if the tensor is not one of ours."""
        held = self.held_by(tensor)
        if held is None or held.exposed or not _disjoint(tensor):
            return False
        alias = self._alias(tensor)
        self._write(held, tensor, value, lambda: run(alias), {"type": value.kind})
        return True

    # -- what is done ----------------------------------------------------------------------------

    def make_real(self, tensor: torch.Tensor, *, exposing: bool = False) -> None:
        """Do what was recorded for the memory of ``tensor``.

        Args:
            tensor: The tensor.
            exposing: Whether its address goes out, so that nothing is known of its content from here on.
        """
        if self._passing:
            return
        held = self.held_by(tensor)
        if held is None:
            return
        if held.pending or (exposing and held.group.steps):
            self.compute([held.group])
        if exposing:
            held.exposed = True
            held.layers = [layer._replace(known=None) for layer in held.layers] or [
                Layer(region_of(tensor), None, code_that_writes(), {"type": "?"})
            ]

    def compute(self, groups: Iterable[Group]) -> None:
        """Do what was recorded for these storages, with torch's own generator, in the order of recording."""
        wanted = {id(group): group for group in groups if group.steps}
        if not wanted:
            return
        due: list[Step] = []
        rest: list[Step] = []
        for step in self.steps:
            (due if id(step.writes.group) in wanted else rest).append(step)
        self.steps = rest
        for member in [each for group in wanted.values() for each in group.members]:
            member.tainted |= member.pending and any(_random(layer) for layer in member.layers)
            member.pending, member.aliases = False, 0
            member.group = Group([member])
        carry_out(due, self)

    def _really(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], held: list[Held]) -> Any:
        targets = list(written(func, args, kwargs))
        rewritten = {id(self.held_by(tensor)) for tensor in targets}
        for each in held:
            # What is to be copied from a storage must be copied before it changes.
            if each.pending or (each.group.steps and id(each) in rewritten):
                self.compute([each.group])
        result = func(*args, **kwargs)
        read = [each for each in held if id(each) not in rewritten or func._schema.name != "aten::copy_"]
        tainted = torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()) or any(
            each.tainted for each in read
        )
        for tensor in targets:
            each = self.held_by(tensor)
            if each is not None:
                if func._schema.name == "aten::copy_" and _covers_all(region_of(tensor), each):
                    each.tainted = False
                each.tainted |= tainted
                each.write(Layer(region_of(tensor), None, code_that_writes(), {"type": func._schema.name}))
        if tainted and not targets:
            for tensor in tensors_in(result):
                each = self._hold(tensor) if self.held_by(tensor) is None else None
                if each is not None:
                    each.tainted = True
                    each.write(
                        Layer(region_of(tensor), None, code_that_writes(), {"type": func._schema.name})
                    )
        return result

    # -- books -----------------------------------------------------------------------------------

    def held_by(self, tensor: torch.Tensor) -> Held | None:
        """The storage of a tensor, if it was made here."""
        try:
            return self._held.get(tensor.untyped_storage()._cdata)
        except (NotImplementedError, RuntimeError):
            return None

    def in_use(self) -> list[Held]:
        """Every storage that somebody else still holds."""
        return [held for held in self._held.values() if not held.abandoned]

    def _hold(self, tensor: Any) -> Held | None:
        if type(tensor) is not torch.Tensor or tensor.dtype not in _FLOATS:
            return None
        if tensor.is_meta or tensor.layout is not torch.strided:
            return None
        self._made += 1
        if self._made % _PRUNE_EVERY == 0:
            self._prune()
        storage = tensor.untyped_storage()
        held = self._held[storage._cdata] = Held(storage)
        return held

    def _prune(self) -> None:
        """Forget memory that nobody else holds."""
        for key, held in list(self._held.items()):
            if not held.pending and held.abandoned:
                del self._held[key]

    def _write(
        self,
        held: Held,
        tensor: torch.Tensor,
        known: Known,
        run: Callable[[], object],
        call: dict[str, object],
    ) -> None:
        held.write(Layer(region_of(tensor), known, code_that_writes(), init_call() or call))
        self._add_step(held, run)

    def _add_step(self, held: Held, run: Callable[[], object]) -> None:
        held.pending = True
        held.group.steps += 1
        self.steps.append(Step(run, held))

    def _alias(self, item: Any) -> Any:
        """A tensor of its own on the same memory, so that the user's may go; anything else as it is."""
        held = self.held_by(item) if isinstance(item, torch.Tensor) else None
        if held is None:
            return item
        held.aliases += 1
        return item.detach()


def carry_out(steps: list[Step], recorder: Recorder | None = None) -> None:
    """Do recorded operations in their order."""
    if recorder is not None:
        recorder._passing = True
    try:
        with torch.no_grad():
            for step in steps:
                step.run()
    finally:
        if recorder is not None:
            recorder._passing = False


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    return [tensor for item in (*args, *kwargs.values()) for tensor in tensors_in(item)]


def _only_views(schema: Any) -> bool:
    """Whether an operation gives views of its arguments, and neither reads nor writes a number."""
    return not schema.is_mutable and any(each.alias_info is not None for each in schema.returns)


def _holds(held: Held, region: Region, known: Known) -> bool:
    """Whether the memory is known to hold a constant already."""
    layers = parts_of(held.layers, region)
    return layers is not None and isinstance(known, Constant) and all(each.known == known for each in layers)


def _covers_all(region: Region, held: Held) -> bool:
    return all(region.covers(layer.region) for layer in held.layers)


def _random(layer: Layer) -> bool:
    return layer.known is None or getattr(layer.known, "random", True)


def _filled_with(operation: str, numbers: tuple[Any, ...], kwargs: dict[str, Any]) -> Known | None:
    """What an in-place operation fills its target with; None if it has no name."""
    if operation == "zero":
        return Constant(0.0)
    if operation == "fill":
        return _constant(numbers[0])
    if operation == "uniform":
        low, high = (*numbers, *(0.0, 1.0)[len(numbers) :])[:2]
        return Uniform(float(kwargs.get("from", low)), float(kwargs.get("to", high)))
    if operation == "normal":
        mean, std = (*numbers, *(0.0, 1.0)[len(numbers) :])[:2]
        return Normal(float(kwargs.get("mean", mean)), float(kwargs.get("std", std)))
    return None


def _constant(number: Any) -> Known | None:
    if isinstance(number, torch.Tensor):
        number = number.item() if number.dim() == 0 and not number.is_meta else None
    if isinstance(number, (bool, int, float)):
        return Constant(float(number))
    return None


def _disjoint(tensor: torch.Tensor) -> bool:
    """No two elements share memory."""
    return all(stride or size <= 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
