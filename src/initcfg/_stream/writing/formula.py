"""Computing what a formula says."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_flatten

from initcfg.errors import ApplyError, InitcfgError
from initcfg.values import Formula, Value, from_json

# Operations that reach beyond their arguments.
_REFUSED = re.compile("from_file|record_stream|set_|_print|sym_|_cuda|resize_|_local_scalar_dense|save")


class RandomSource(NamedTuple):
    """Where a formula's random numbers come from, by a name (None: the tensor's own) and a part."""

    fill: Callable[[torch.Tensor, Value, str | None, int], None]
    seeded: Callable[[str | None, int], AbstractContextManager[Any]]


def evaluate(formula: Formula, source: RandomSource, initial: torch.Tensor | None = None) -> torch.Tensor:
    """The tensor that a formula describes; ``initial`` is what it holds, for formulas that begin with it."""
    with torch.no_grad():
        try:
            return _Machine(source, initial).run(formula)
        except InitcfgError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            raise ApplyError(f"{formula} cannot be computed: {error}.") from error


class _Machine:
    def __init__(self, source: RandomSource, initial: torch.Tensor | None) -> None:
        self._source = source
        self._initial = initial
        self._slots: list[Any] = []

    def run(self, formula: Formula) -> torch.Tensor:
        for instruction in formula.instructions:
            kind, *rest = instruction
            if kind == "result":
                return self._tensor(rest[0])
            self._do(kind, rest)
        raise ApplyError("A formula ends with its result, and this one does not.")

    def _do(self, kind: str, rest: list[Any]) -> None:
        if kind == "value":
            shape, dtype, *filling = rest
            self._slots.append(self._filled(torch.empty(shape, dtype=_torch(dtype)), *filling))
        elif kind == "fill":
            ref, *filling = rest
            self._filled(self._tensor(ref), *filling)
        elif kind == "empty":
            shape, strides, dtype = rest
            self._slots.append(torch.empty_strided(shape, strides, dtype=_torch(dtype)).zero_())
        elif kind == "data":
            shape, dtype, numbers = rest
            flat = [self._argument(number) for number in numbers]
            self._slots.append(torch.tensor(flat, dtype=_torch(dtype)).reshape(shape))
        elif kind == "layout":
            ref, sizes, strides = rest
            slot = int(ref.removeprefix("$"))
            self._slots[slot] = _laid_out(self._slots[slot], sizes, strides)
        elif kind == "initial":
            if self._initial is None:
                raise ApplyError("A formula begins with what its tensor holds, and there is no tensor.")
            self._slots.append(self._initial.clone())
        elif kind == "draw":
            with self._source.seeded(*_key(rest[-1])):
                self._call(rest[0], rest[1:-1])
        else:
            self._call(kind, rest)

    def _filled(self, tensor: torch.Tensor, filling: Any, key: Any = 0, *_: Any) -> torch.Tensor:
        if isinstance(filling, dict) and "kind" in filling:
            self._source.fill(tensor, from_json(filling), *_key(key))
        else:
            tensor.fill_(self._argument(filling))
        return tensor

    def _call(self, name: str, args: list[Any]) -> None:
        base, _, overload = name.partition(".")
        if _REFUSED.search(base):
            raise ApplyError(f"A formula may not call {name!r}.")
        func = getattr(getattr(torch.ops.aten, base), overload or "default")
        schema = func._schema
        if not any("Tensor" in str(each.type) for each in (*schema.arguments, *schema.returns)):
            # Such as manual_seed.
            raise ApplyError(f"A formula may not call {name!r}, which does not operate on tensors.")
        keywords: dict[str, Any] = {}
        if args and isinstance(args[-1], dict) and "float" not in args[-1]:
            *args, keywords = args
        named = {key: self._argument(item) for key, item in keywords.items()}
        self._slots += made_by(func, func(*map(self._argument, args), **named))

    def _argument(self, item: Any) -> Any:
        if isinstance(item, list):
            return [self._argument(each) for each in item]
        if isinstance(item, dict):
            return float(item["float"])
        if isinstance(item, str) and item.startswith("$"):
            return self._tensor(item)
        return _torch(item) if isinstance(item, str) and item.startswith("torch.") else item

    def _tensor(self, ref: str) -> torch.Tensor:
        slot, *view = ref.removeprefix("$").split(":")
        tensor = self._slots[int(slot)]
        if not view:
            return tensor
        if len(view) == 4:
            # The same memory as numbers of another type.
            memory = tensor.untyped_storage()
            tensor = torch.empty(0, dtype=_torch(view.pop())).set_(memory)  # type: ignore[call-overload]
        sizes, strides, offset = ([int(number) for number in each.split(",") if number] for each in view)
        return torch.as_strided(tensor, sizes, strides, offset[0])


def _laid_out(tensor: torch.Tensor, sizes: list[int], strides: list[int]) -> torch.Tensor:
    """The tensor, laid out in memory as it was when the formula was recorded: views are taken of it."""
    if list(tensor.shape) != sizes:
        raise ApplyError(
            f"A formula expects a tensor of shape {tuple(sizes)}, and its operation makes one of shape "
            f"{tuple(tensor.shape)}.",
            fix="Plan the model again with this version of torch.",
        )
    if list(tensor.stride()) == strides and tensor.storage_offset() == 0:
        return tensor
    return torch.empty_strided(sizes, strides, dtype=tensor.dtype).copy_(tensor)


def made_by(func: Any, result: Any) -> list[torch.Tensor]:
    """The tensors of a result that an operation made: not those that it was given and has changed."""
    schema = getattr(func, "_schema", None)
    items: Any = result
    if schema is not None and schema.is_mutable:
        each = result if len(schema.returns) > 1 else [result]
        items = [item for item, kind in zip(each, schema.returns, strict=False) if kind.alias_info is None]
    return [item for item in tree_flatten(items)[0] if isinstance(item, torch.Tensor)]


def _key(key: Any) -> tuple[str | None, int]:
    return (str(key[0]), int(key[1])) if isinstance(key, list) else (None, int(key))


def _torch(name: str) -> Any:
    """A type, or an order of memory."""
    found = getattr(torch, name.removeprefix("torch."))
    if not isinstance(found, (torch.dtype, torch.memory_format)):
        raise ApplyError(f"{name!r} is not a type of tensors.")
    return found
