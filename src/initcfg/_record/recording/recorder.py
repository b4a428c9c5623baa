"""The recorder: a dispatch mode under which constructors run without writing their weights.

Memory is handed out untouched. Operations that fill a tensor with something that has a name are noted, and
so is everything that is computed from such a tensor, as long as its shape can be told without numbers. What
code looks at is computed there and then. Everything is logged, so that it can be done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from initcfg._model import tensors_in, written_tensors
from initcfg._record.recording.content import Known
from initcfg._record.recording.held import Held, Operand
from initcfg._record.recording.layers import Layer, copied, covered, transformed
from initcfg._record.recording.notes import Notes, hidden
from initcfg._record.recording.operations import (
    COPIES,
    COPY_OPTIONS,
    DRAWERS,
    ELEMENTWISE,
    FLOATS,
    MAKERS,
    as_it_says,
    disjoint,
    draws,
    filled_with,
    is_plain,
    only_views,
    pointwise,
)
from initcfg._record.recording.regions import Region, region_of
from initcfg._stream.writing import made_by
from initcfg.errors import BuildError
from initcfg.values import Constant, Value

_FORCED = object()


class Recorder(Notes, TorchDispatchMode):
    """Records writes instead of doing them.

    Args:
        drawing: Within this, operations that draw are done; the process's generator may be another there.
        refuse_foreign_parameters: Whether writing a parameter that was made elsewhere is an error.
    """

    def __init__(
        self,
        drawing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
        *,
        refuse_foreign_parameters: bool = False,
    ) -> None:
        super().__init__(drawing)
        self._refuse = refuse_foreign_parameters

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Record the operation, or run it on real numbers."""
        kwargs = kwargs or {}
        schema = getattr(func, "_schema", None)
        if schema is None or self._passing:
            return func(*args, **kwargs)
        func = as_it_says(func, args)
        schema = func._schema
        name: str = schema.name
        if "out" not in kwargs:
            if name in MAKERS and (made := self._make(name, func, args, kwargs)) is not None:
                return made
            if name in DRAWERS and (made := self._draw(name, args, kwargs)) is not None:
                return made
        if only_views(func, schema):
            if name == "aten::lift_fresh":
                self.know_fresh(args[0])
            return func(*args, **kwargs)
        if name == "aten::copy_" and _same_place(args):
            # What x[0] += 1 ends with.
            return args[0]
        operation = name.removeprefix("aten::")
        if schema.is_mutable:
            target = args[0] if args else None
            if "out" not in kwargs and self._record_write(operation.removesuffix("_"), func, args, kwargs):
                return target
        elif (named := self._record_result(operation, func, args, kwargs)) is not None:
            return named
        held = [each for tensor in _tensors(args, kwargs) if (each := self.held_by(tensor)) is not None]
        if any(each.lazy for each in held):
            result = self._record_any(func, schema, args, kwargs)
            if result is not _FORCED:
                return result
        return self._really(func, args, kwargs, held)

    def _make(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The tensor that ``zeros`` and its like make; None if what it holds is not known."""
        known = MAKERS[name](args) if not self._is_held(args) else None
        if known is None and "full" in name:
            return None
        # The arguments of new_zeros and its like lend their type and nothing else.
        templates = tuple(_template(item) for item in args)
        tensor = func(*args, **kwargs)
        held = self._hold(tensor)
        if held is not None and known is not None:
            layer = self._layer(tensor, known, {"type": name[6:]})
            held.write(layer)
            out = Operand(held, layer.region)
            self._add(
                func, templates, kwargs, outs=(out,), fill=layer, target=out, done=True, overwrites=True
            )
        return tensor

    def _draw(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The unwritten tensor that ``randn`` and its like make; None if it must be drawn."""
        if kwargs.get("generator") is not None or kwargs.get("names") is not None or len(args) != 1:
            return None
        options = {key: item for key, item in kwargs.items() if item is not None}
        if options.get("dtype", torch.get_default_dtype()) not in FLOATS:
            return None
        make = torch.empty_like if name.endswith("_like") else torch.empty
        tensor = make(args[0], **options)
        held = self._hold(tensor)
        if held is None or tensor.dtype not in FLOATS:
            return None
        fill, value = DRAWERS[name]
        # A value of its own: those of copies are the same object.
        layer = self._layer(tensor, replace(value), {"type": name[6:]})
        self._fill(held, layer, getattr(torch.ops.aten, fill).default, ())
        return tensor

    def _record_write(self, operation: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Note an in-place operation that has a name; False if it has none."""
        target = args[0] if args else None
        if not isinstance(target, torch.Tensor) or target.dtype not in FLOATS:
            return False
        held = self.held_by(target)
        if held is None or held.exposed or held.foreign or kwargs.get("generator") is not None:
            return False
        if not disjoint(target):
            return False
        region = region_of(target)
        if operation in ELEMENTWISE:
            layers = transformed(held.layers, region, operation, args[1:], kwargs)
            if layers is None or not held.pending:
                return False
            step = self._in_place(func, args, kwargs, held)
            held.layers = layers
            self.log.add(step)
            return True
        if operation == "copy":
            return self._copy(held, target, func, args, kwargs)
        if any(isinstance(each, torch.Tensor) and self._depends(each) for each in args[1:]):
            return False
        for tensor in _tensors(args[1:], {}):
            # A number in a tensor, as in weight[0] = 1.
            self.make_real(tensor)
        known = filled_with(operation, args[1:], kwargs)
        if known is None:
            return False
        if not held.pending and _holds(held, region, known):
            # A buffer that is reset to what it was made with.
            return True
        numbers = tuple(item.item() if isinstance(item, torch.Tensor) else item for item in args[1:])
        layer = self._layer(target, known, {"type": operation + "_"})
        self._fill(held, layer, getattr(torch.ops.aten, operation + "_"), numbers, kwargs)
        return True

    def _copy(
        self, held: Held, target: torch.Tensor, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        source = args[1]
        found = self.held_by(source) if isinstance(source, torch.Tensor) else None
        if found is None or source.shape != target.shape or found is held:
            return False
        region = region_of(target)
        layers = copied(found.layers, region_of(source), region)
        if layers is None:
            return False
        step = self._in_place(func, args, kwargs, held, overwrites=region.covers(held.whole))
        for layer in layers:
            held.write(layer)
        self.log.add(step)
        return True

    def _record_result(
        self, operation: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        """The unwritten result of a copy or of an elementwise operation that has a name; else None."""
        source = args[0] if args else None
        found = self.held_by(source) if isinstance(source, torch.Tensor) else None
        if found is None or source is None or source.dtype not in FLOATS:
            return None
        region = region_of(source)
        if operation in COPIES:
            if set(kwargs) - set(COPY_OPTIONS) or (kwargs.get("dtype") or source.dtype) not in FLOATS:
                return None
            options = {
                key: kwargs[key]
                for key in ("dtype", "device", "memory_format")
                if kwargs.get(key) is not None
            }
            layers: list[Layer] | None = found.layers
        elif operation in ELEMENTWISE:
            options = {}
            layers = transformed(found.layers, region, operation, args[1:], kwargs)
            if layers is None:
                return self._of_constants(func, args, kwargs)
        elif pointwise(func):
            return self._of_constants(func, args, kwargs)
        else:
            return None
        if layers is None or covered(layers, region) is None:
            return None
        arguments = tuple(self._operand(item) for item in args)
        result = torch.empty_like(source, **options)
        layers = copied(layers, region, region_of(result))
        if layers is None:
            return None
        held = self._hold(result)
        if held is None:
            return None
        held.layers = layers
        self._add(func, arguments, kwargs, outs=(Operand(held, region_of(result)),), overwrites=True)
        return result

    def _of_constants(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
        """The unwritten result of an elementwise operation on tensors that are constant; else None."""
        small: list[Any] = []
        for item in args:
            if not isinstance(item, torch.Tensor):
                small.append(item)
                continue
            held = self.held_by(item)
            known = None if held is None else held.snapshot(region_of(item))
            if known is None or not isinstance(known.value, Constant):
                return None
            small.append(torch.full((1,), known.value.val, dtype=item.dtype))
        meta = self._shapes(func, args, kwargs)
        if not isinstance(meta, torch.Tensor) or meta.dtype not in FLOATS:
            return None
        known = Constant(func(*small, **kwargs).item())
        arguments = tuple(self._operand(item) for item in args)
        result = torch.empty_strided(meta.shape, meta.stride(), dtype=meta.dtype)
        held = self._hold(result)
        if held is None:
            return None
        held.write(self._layer(result, known, {"type": func._schema.name[6:]}))
        self._add(func, arguments, kwargs, outs=(Operand(held, region_of(result)),), overwrites=True)
        return result

    def _record_any(self, func: Any, schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note an operation on what is not written yet; ``_FORCED`` if it must be done."""
        if kwargs.get("generator") is not None or any(
            isinstance(item, torch.Tensor) and not is_plain(item) for item in tree_flatten((args, kwargs))[0]
        ):
            return _FORCED
        if any(
            (each := self.held_by(tensor)) is not None and each.exposed for tensor in _tensors(args, kwargs)
        ):
            return _FORCED
        if schema.is_mutable:
            targets = list(written_tensors(func, args, kwargs))
            if not targets or any(self.held_by(each) is None or not each.numel() for each in targets):
                # An empty target may be given another size.
                return _FORCED
            returned = _returned(schema, args, kwargs)
            if returned is _FORCED:
                return _FORCED
            self._note_in_place(func, args, kwargs, targets, done=False)
            return returned
        meta = self._shapes(func, args, kwargs)
        if meta is _FORCED:
            return _FORCED
        arguments, options = self._operands((args, kwargs))
        outs: list[Operand | None] = []

        def unwritten(item: Any) -> Any:
            if not isinstance(item, torch.Tensor):
                return item
            tensor = torch.empty_strided(item.shape, item.stride(), dtype=item.dtype)
            held = self._hold(tensor)
            assert held is not None
            region = region_of(tensor)
            held.write(self._layer(tensor, None, {"type": schema.name[6:]}))
            outs.append(Operand(held, region))
            return tensor

        result = tree_map(unwritten, meta)
        self._add(func, arguments, options, outs=tuple(outs), draws=draws(func), overwrites=True)
        return result

    def _shapes(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result on meta tensors; ``_FORCED`` where numbers decide."""

        def meta(item: Any) -> Any:
            if not isinstance(item, torch.Tensor):
                return torch.device("meta") if isinstance(item, torch.device) else item
            return torch.empty_strided(item.shape, item.stride(), dtype=item.dtype, device="meta")

        if "quantize" in func._schema.name:
            return _FORCED
        try:
            found = func(*tree_map(meta, args), **tree_map(meta, kwargs))
        except Exception:
            # No such kernel, or numbers decide; the operation itself says if it is wrong.
            return _FORCED
        tensors = [item for item in tree_flatten(found)[0] if isinstance(item, torch.Tensor)]
        plain = bool(tensors) and all(
            type(each) is torch.Tensor and each.is_meta and not each.is_quantized for each in tensors
        )
        return found if plain else _FORCED

    def record_sampler(
        self, tensor: torch.Tensor, value: Value, run: Callable[[torch.Tensor], object]
    ) -> bool:
        """Note a call of a known sampler; False if the tensor is not one of ours."""
        held = self.held_by(tensor)
        if held is None or held.exposed or held.foreign or not disjoint(tensor):
            return False
        if tensor.dtype not in FLOATS:
            return False
        self._fill(held, self._layer(tensor, value, {"type": value.kind}), run, ())
        return True

    def _really(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], held: list[Held]) -> Any:
        targets = list(written_tensors(func, args, kwargs))
        if self._refuse and any(
            isinstance(each, torch.nn.Parameter) and not each.is_meta and self._was_there(each)
            for each in targets
        ):
            raise BuildError(
                "The traced code writes a parameter that it did not make: the model was there before.",
                shape=tuple(targets[0].shape),
                fix="Pass the model too: initcfg.trace(init, model).",
            )
        changed = [each for tensor in targets if (each := self.held_by(tensor)) is not None]
        # What waits to be read from a storage must be done before it changes.
        self.compute([each for each in held if each.lazy])
        readers = [other for each in changed for step in each.waiting.values() for other in step.writes]
        self.compute(readers)
        drawing = draws(func)
        step = self._note_in_place(func, args, kwargs, targets, done=True) if targets else None
        operands = None if targets else self._operands((args, kwargs))
        with self._drawing() if drawing else contextlib.nullcontext():
            result = func(*args, **kwargs)
        tensors = made_by(func, result)
        if step is not None:
            for tensor in targets:
                self._note_size(step, tensor)
            if tensors:
                self._note_outs(step, tuple(self._held_out(tensor, func) for tensor in tensors))
            return result
        if not tensors or torch.Tag.dynamic_output_shape in func.tags:
            self._note_look(held)
        if not tensors or operands is None:
            return result
        outs = tuple(self._held_out(tensor, func) for tensor in tensors)
        arguments, options = operands
        step = self._add(func, arguments, options, outs=outs, draws=drawing, done=True, overwrites=True)
        step.hidden = hidden(args, kwargs)
        return result


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    return [tensor for item in (*args, *kwargs.values()) for tensor in tensors_in(item)]


def _same_place(args: tuple[Any, ...]) -> bool:
    """Whether a tensor is copied onto itself."""
    target, source = args[:2]
    return (
        is_plain(target)
        and is_plain(source)
        and target.untyped_storage()._cdata == source.untyped_storage()._cdata
        and region_of(target) == region_of(source)
    )


def _template(item: Any) -> Any:
    """A tensor that stands for another of its type and shape, and holds nothing."""
    if not isinstance(item, torch.Tensor) or item.is_meta:
        return item
    return torch.empty_strided(item.shape, item.stride(), dtype=item.dtype, device=item.device)


def _returned(schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation that writes its arguments returns: one of them, or nothing."""
    if not schema.returns:
        return None
    if len(schema.returns) > 1 or schema.returns[0].alias_info is None:
        return _FORCED
    names = schema.returns[0].alias_info.before_set
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.before_set == names:
            return args[index] if index < len(args) else kwargs.get(argument.name)
    return _FORCED


def _holds(held: Held, region: Region, known: Known) -> bool:
    """Whether the memory is known to hold a constant already."""
    found = held.snapshot(region)
    return found is not None and isinstance(known, Constant) and found.value == known
