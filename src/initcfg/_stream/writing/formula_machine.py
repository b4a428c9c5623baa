"""Carrying out a formula: the machine that goes through its instructions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_flatten

from initcfg.errors import ApplyError
from initcfg.values import Formula, Value, from_json
from initcfg.values.formulas import View, operation, references, split_arguments, view_of


class RandomSource(NamedTuple):
    """Where a formula's random numbers come from, by a name (None: the tensor's own) and a part."""

    fill: Callable[[torch.Tensor, Value, str | None, int], None]
    seeded: Callable[[str | None, int], AbstractContextManager[Any]]


class Machine:
    """Goes through a formula's instructions, checked when it was made; what is done with is let go."""

    device = "cpu"

    def __init__(self, source: RandomSource, initial: torch.Tensor | None) -> None:
        self._source = source
        self._initial = initial
        self._slots: list[torch.Tensor | None] = []

    def run(self, formula: Formula) -> torch.Tensor:
        """The tensor that the formula describes."""
        program = formula.instructions
        if not program or program[-1][0] != "result":
            raise ApplyError("A formula ends with its result, and this one does not.")
        last = {view.slot: at for at, each in enumerate(program) for view in references(each[1:])}
        for at, (kind, *rest) in enumerate(program):
            if kind == "result":
                break
            before = len(self._slots)
            self._do(kind, rest)
            done = {view.slot for view in references(rest) if last[view.slot] == at}
            for slot in done.union(slot for slot in range(before, len(self._slots)) if slot not in last):
                self._slots[slot] = None
        return self._tensor(program[-1][1])

    def _do(self, kind: str, rest: list[Any]) -> None:
        if kind == "value":
            shape, dtype, *filling = rest
            self._slots.append(self._filled(self._new(shape, dtype), *filling))
        elif kind == "fill":
            ref, *filling = rest
            self._filled(self._tensor(ref), *filling)
        elif kind == "empty":
            shape, strides, dtype = rest
            made = torch.empty_strided(shape, strides, dtype=_torch(dtype), device=self.device)
            self._slots.append(made.zero_())
        elif kind == "data":
            self._slots.append(self._data(*rest).to(self.device))
        elif kind == "layout":
            ref, sizes, strides = rest
            slot = view_of(ref).slot
            self._slots[slot] = _laid_out(self._slot(slot), sizes, strides)
        elif kind == "initial":
            if self._initial is None:
                raise ApplyError("A formula begins with what its tensor holds, and there is no tensor.")
            self._slots.append(self._initial.clone())
        elif kind == "draw":
            with self._source.seeded(*_key(rest[-1])):
                self._call(rest[0], rest[1:-1])
        else:
            self._call(kind, rest)

    def _new(self, shape: list[int], dtype: str) -> torch.Tensor:
        return torch.empty(shape, dtype=_torch(dtype), device=self.device)

    def _data(self, shape: list[int], dtype: str, numbers: list[Any]) -> torch.Tensor:
        return torch.tensor(
            [self._argument(each) for each in numbers], dtype=_torch(dtype), device="cpu"
        ).reshape(shape)

    def _filled(self, tensor: torch.Tensor, filling: Any, key: Any = 0) -> torch.Tensor:
        if isinstance(filling, dict) and "kind" in filling:
            self._source.fill(tensor, from_json(filling), *_key(key))
        else:
            tensor.fill_(self._argument(filling))
        return tensor

    def _call(self, name: str, args: list[Any]) -> None:
        placed, named = split_arguments(args)
        arguments = [self._argument(item) for item in placed]
        self._slots += self._operate(
            name, operation(name), arguments, {key: self._argument(item) for key, item in named.items()}
        )

    def _operate(self, name: str, func: Any, args: list[Any], named: dict[str, Any]) -> list[torch.Tensor]:
        return made_by(func, func(*args, **named))

    def _argument(self, item: Any) -> Any:
        if isinstance(item, list):
            return [self._argument(each) for each in item]
        if isinstance(item, dict):
            return float(item["float"])
        if isinstance(item, str) and item.startswith("$"):
            return self._tensor(item)
        return _torch(item) if isinstance(item, str) and item.startswith("torch.") else item

    def _slot(self, number: int) -> torch.Tensor:
        found = self._slots[number]
        assert found is not None
        return found

    def _tensor(self, ref: str) -> torch.Tensor:
        view = view_of(ref)
        return _seen(self._slot(view.slot), view)


def _seen(tensor: torch.Tensor, view: View) -> torch.Tensor:
    """What a view shows of a tensor's memory, all of which must be there."""
    if view.sizes is None:
        return tensor
    dtype = tensor.dtype if view.dtype is None else _torch(view.dtype)
    reach = 1 + sum((size - 1) * stride for size, stride in zip(view.sizes, view.strides, strict=True))
    last = view.offset + (0 if 0 in view.sizes else reach)
    if last * dtype.itemsize > tensor.untyped_storage().nbytes():
        raise ApplyError("A formula looks beyond the memory of one of its tensors.")
    if view.dtype is not None:
        # The same memory as numbers of another type.
        tensor = torch.empty(0, dtype=dtype, device=tensor.device).set_(tensor.untyped_storage())  # type: ignore[call-overload]
    return torch.as_strided(tensor, view.sizes, view.strides, view.offset)


def seen(tensor: torch.Tensor, ref: str) -> torch.Tensor:
    """What a text such as ``"$0:2,3:3,1:0"`` shows of the tensor in that slot."""
    return _seen(tensor, view_of(ref))


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
    return torch.empty_strided(sizes, strides, dtype=tensor.dtype, device="cpu").copy_(tensor)


def made_by(func: Any, result: Any) -> list[torch.Tensor]:
    """The tensors of a result that an operation made: not those that it was given and has changed."""
    schema = getattr(func, "_schema", None)
    items: Any = result
    if schema is not None and schema.is_mutable:
        each = result if len(schema.returns) > 1 else [result]
        items = [item for item, kind in zip(each, schema.returns, strict=False) if kind.alias_info is None]
    if type(items) is torch.Tensor:
        return [items]
    if type(items) is list and not items:
        return []
    return [item for item in tree_flatten(items)[0] if isinstance(item, torch.Tensor)]


def _key(key: Any) -> tuple[str | None, int]:
    return (str(key[0]), int(key[1])) if isinstance(key, list) else (None, int(key))


def _torch(name: str) -> Any:
    """A type, or an order of memory."""
    found = getattr(torch, name.removeprefix("torch."))
    if not isinstance(found, (torch.dtype, torch.memory_format)):
        raise ApplyError(f"{name!r} is not a type of tensors.")
    return found
