"""Doing what a formula says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from initcfg._values import Formula, Value, from_json
from initcfg.errors import ApplyError, InitcfgError

# Operations that reach beyond their arguments.
_REFUSED = ("from_file", "record_stream", "set_", "_print", "sym_", "_cuda", "resize_", "_local_scalar_dense")


class Sources(NamedTuple):
    """Where a formula's random numbers come from.

    Attributes:
        fill: Fills a tensor with a value, under a name (None: the tensor's own) and from a part on.
        seeded: Within this, torch's generator depends on a name and a part.
    """

    fill: Callable[[torch.Tensor, Value, str | None, int], None]
    seeded: Callable[[str | None, int], AbstractContextManager[Any]]


def evaluate(formula: Formula, sources: Sources, initial: torch.Tensor | None = None) -> torch.Tensor:
    """The tensor that a formula describes.

    Args:
        formula: The formula.
        sources: Where its random numbers come from.
        initial: What the tensor itself holds; for formulas that begin with it.

    Raises:
        ApplyError: The formula is none.
    """
    with torch.no_grad():
        try:
            return _Machine(sources, initial).run(formula)
        except InitcfgError:
            raise
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise ApplyError(f"{formula} cannot be computed: {error}.") from error


class _Machine:
    def __init__(self, sources: Sources, initial: torch.Tensor | None) -> None:
        self._sources = sources
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
            shape, dtype, value, key = rest
            tensor = torch.empty(shape, dtype=_dtype(dtype))
            self._fill(tensor, from_json(value), key)
            self._slots.append(tensor)
        elif kind == "fill":
            ref, value, key = rest
            self._fill(self._tensor(ref), from_json(value), key)
        elif kind == "empty":
            shape, strides, dtype = rest
            self._slots.append(torch.empty_strided(shape, strides, dtype=_dtype(dtype)).zero_())
        elif kind == "data":
            shape, dtype, numbers = rest
            flat = [_number(number) for number in numbers]
            self._slots.append(torch.tensor(flat, dtype=_dtype(dtype)).reshape(shape))
        elif kind == "initial":
            if self._initial is None:
                raise ApplyError("A formula begins with what its tensor holds, and there is no tensor.")
            self._slots.append(self._initial.clone())
        elif kind == "op":
            self._call(rest[0], rest[1], rest[2] if len(rest) > 2 else {})
        elif kind == "draw":
            with self._sources.seeded(*_key(rest[3])):
                self._call(rest[0], rest[1], rest[2])
        else:
            raise ApplyError(f"A formula has no instruction {kind!r}.")

    def _fill(self, tensor: torch.Tensor, value: Value, key: Any) -> None:
        self._sources.fill(tensor, value, *_key(key))

    def _call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        base, _, overload = name.partition(".")
        if any(refused in base for refused in _REFUSED) and base not in ("set_data",):
            raise ApplyError(f"A formula may not call {name!r}.")
        func = getattr(getattr(torch.ops.aten, base), overload or "default")
        result = func(
            *map(self._argument, args), **{key: self._argument(item) for key, item in kwargs.items()}
        )
        if not func._schema.is_mutable:
            found = result if isinstance(result, (list, tuple)) else [result]
            self._slots += [item for item in found if isinstance(item, torch.Tensor)]

    def _argument(self, item: Any) -> Any:
        if isinstance(item, list):
            return [self._argument(each) for each in item]
        if isinstance(item, dict):
            if "dtype" in item:
                return _dtype(item["dtype"])
            if "format" in item:
                return getattr(torch, item["format"])
            if "float" in item:
                return float(item["float"])
            return self._tensor(item)
        return item

    def _tensor(self, ref: dict[str, Any]) -> torch.Tensor:
        tensor = self._slots[ref["of"]]
        if "at" not in ref:
            return tensor
        sizes, strides, offset = ref["at"]
        return torch.as_strided(tensor, sizes, strides, offset)


def _key(key: Any) -> tuple[str | None, int]:
    return (key[0], key[1]) if isinstance(key, list) else (None, key or 0)


def _number(number: Any) -> Any:
    return float(number["float"]) if isinstance(number, dict) else number


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise ApplyError(f"{name!r} is no type of tensors.")
    return found
