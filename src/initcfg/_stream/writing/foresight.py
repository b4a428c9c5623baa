"""What a formula would need, foreseen without a number: sizes, memory, work; and that views stay in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from initcfg._stream.writing.formula_machine import Machine, RandomSource, made_by, seen
from initcfg.errors import InitcfgError, in_bytes
from initcfg.values import (
    CopyOf,
    Formula,
    FromBatch,
    Opaque,
    PaddingRow,
    Parts,
    Repeat,
    Scaled,
    Value,
    dtype_name,
    dtype_problem,
    shape_problem,
)
from initcfg.values.formulas import MAKERS, MATRICES, WINDOWS, base_of, operation, references, view_of

# What any formula may use, and what it may use besides for each element of its tensor.
_MEMORY, _MEMORY_PER_ELEMENT = 16 << 20, 512
_WORK, _WORK_PER_ELEMENT = 1 << 32, 64
# Whole numbers that stand in the program are followed, since they may be indices.
_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8)


class _Refused(Exception):
    """Why a formula is not computed."""


def formula_problem(formula: Formula, shape: Iterable[int], dtype: str) -> str | None:
    """Why a formula cannot make a tensor of this shape and type; None if it can, as far as can be foreseen.

    What depends on the numbers that are drawn (a matrix that is not positive definite) is not.
    """
    return _problem(formula.program, tuple(shape), dtype)


def value_problem(value: Value, shape: Sequence[int], dtype: torch.dtype) -> str | None:
    """Why a value cannot be written to a tensor of this shape and type, all of it; None if it can."""
    if isinstance(value, Opaque):
        value = value.over
    found = shape_problem(value, shape) or dtype_problem(value, dtype)
    return found or _formulas_problem(value, tuple(shape), dtype)


def _formulas_problem(value: Value, shape: tuple[int, ...], dtype: torch.dtype) -> str | None:
    if isinstance(value, Formula):
        return formula_problem(value, shape, dtype_name(dtype))
    if isinstance(value, (PaddingRow, CopyOf, FromBatch, Scaled)):
        return _formulas_problem(value.value, shape, dtype)
    if isinstance(value, Repeat):
        dim = value.dim
        return _formulas_problem(
            value.value, (*shape[:dim], shape[dim] // value.times, *shape[dim + 1 :]), dtype
        )
    if isinstance(value, Parts):
        shapes = ((*shape[: value.dim], size, *shape[value.dim + 1 :]) for size in value.sizes)
        found = (
            _formulas_problem(each, there, dtype) for each, there in zip(value.values, shapes, strict=True)
        )
        return next(filter(None, found), None)
    return None


@lru_cache(maxsize=4096)
def _problem(program: str, shape: tuple[int, ...], dtype: str) -> str | None:
    initial = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
    try:
        with torch.no_grad():
            made = _Foreseen(initial).run(Formula(program))
    except _Refused as refused:
        return str(refused)
    except InitcfgError as error:
        return error.problem
    except Exception as error:
        # Rules of shapes are written in Python, and raise what they like.
        return f"it cannot be computed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if tuple(made.shape) != shape:
        return f"it makes a tensor of shape {tuple(made.shape)}"
    return None


class _Foreseen(Machine):
    """Carries out a formula on tensors without numbers."""

    device = "meta"

    def __init__(self, initial: torch.Tensor) -> None:
        super().__init__(RandomSource(self._check_filling, lambda name, part: _NOTHING), initial)
        elements = initial.numel()
        self._memory = _MEMORY + _MEMORY_PER_ELEMENT * elements
        self._work = _WORK + _WORK_PER_ELEMENT * math.ceil(elements**1.5)
        # Whole numbers of small tensors, by slot; and of what was seen of them, by identity, which is kept.
        self._numbers: dict[int, torch.Tensor] = {}
        self._seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def _check_filling(self, tensor: torch.Tensor, value: Value, name: str | None, part: int) -> None:
        problem = shape_problem(value, tensor.shape) or dtype_problem(value, tensor.dtype)
        if problem is not None:
            raise _Refused(f"{value} in a formula: {problem}")
        self._spend(tensor.numel() if value.blockwise else math.ceil(tensor.numel() ** 1.5))

    def _do(self, kind: str, rest: list[Any]) -> None:
        if kind in ("value", "empty"):
            self._check_size(rest[0], rest[1] if kind == "empty" else None)
        elif kind == "layout":
            self._check_size(rest[1], rest[2])
        before = len(self._slots)
        super()._do(kind, rest)
        if kind == "data" and (numbers := self._data(*rest)).dtype in _NUMBERS:
            self._numbers[before] = numbers
        elif kind == "fill" or _writes(kind):
            for view in references(rest):
                self._numbers.pop(view.slot, None)
        held = sum(_bytes(each) for each in self._slots if each is not None)
        if held > self._memory:
            raise _Refused(f"it needs {in_bytes(held)} of memory, far more than its tensor")

    def _check_size(self, sizes: list[int], strides: list[int] | None = None) -> None:
        count = math.prod(sizes)
        reach = 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides or (), strict=False))
        if max(count, reach) > self._memory:
            raise _Refused(f"it makes a tensor of {max(count, reach):,} elements, far more than its own has")

    def _spend(self, work: float) -> None:
        self._work -= work
        if self._work < 0:
            raise _Refused("it takes far more work than its tensor explains")

    def _operate(self, name: str, func: Any, args: list[Any], named: dict[str, Any]) -> list[torch.Tensor]:
        base = base_of(name)
        given = {each.name: item for each, item in zip(func._schema.arguments, args, strict=False)} | named
        tensors = [item for item in tree_flatten(given)[0] if isinstance(item, torch.Tensor)]
        rank = max((each.dim() for each in tensors), default=0)
        _check_axes(given, rank)
        _check_trusting(base, given)
        self._check_indices(base, given)
        if base in MAKERS:
            self._check_size([_length(base, given)])
        if any(each.name == "device" for each in func._schema.arguments) and not tensors:
            named = {**named, "device": "meta"}
        made = made_by(func, func(*args, **named))
        touched = sum(each.numel() for each in (*tensors, *made))
        work = touched
        if base in MATRICES:
            work = touched**1.5 * (64 if base == "linalg_matrix_exp" else 1)
        elif base in WINDOWS:
            size = given["weight"].numel() if "weight" in given else math.prod(_listed(given["kernel_size"]))
            work += size * max(each.numel() for each in (*tensors[:1], *made))
        self._spend(work)
        return made

    def _tensor(self, ref: str) -> torch.Tensor:
        found = super()._tensor(ref)
        # Where a view repeats its memory, each time counts.
        self._check_size(list(found.shape))
        slot = view_of(ref).slot
        if slot in self._numbers:
            self._seen[id(found)] = found, seen(self._numbers[slot], ref)
        return found

    def _check_indices(self, base: str, given: dict[str, Any]) -> None:
        """Indices that stand in the program must lie within the tensor."""
        source = given.get("weight" if base == "embedding" else "self")
        found = given.get("indices", given.get("index"))
        if not isinstance(source, torch.Tensor) or found is None:
            return
        if isinstance(found, list):
            axes = list(enumerate(found))
        elif base == "take":
            axes, source = [(0, found)], source.flatten() if source.is_contiguous() else source.reshape(-1)
        else:
            axes = [(given.get("dim", 0), found)]
        for axis, index in axes:
            _, numbers = self._seen.get(id(index), (None, None))
            if numbers is None or not numbers.numel():
                continue
            size = source.shape[axis] if source.dim() else 1
            if int(numbers.min()) < -size or int(numbers.max()) >= size:
                raise _Refused(f"{base!r} reaches beyond the {size:,} along axis {axis}")


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _writes(kind: str) -> bool:
    forms = ("value", "empty", "data", "layout", "initial", "draw", "result")
    return kind not in forms and operation(kind)._schema.is_mutable


def _listed(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [item]


def _check_axes(given: dict[str, Any], rank: int) -> None:
    """Axes are those of the tensors; some kernels trust them."""
    for name in ("dim", "dims", "dim0", "dim1", "dim2", "axis"):
        for axis in _listed(given.get(name)):
            # stack and diag_embed count the axes that they make, too.
            if axis is not None and not -rank - 2 <= axis < rank + 2:
                raise _Refused(f"there is no axis {axis}")


def _check_trusting(base: str, given: dict[str, Any]) -> None:
    """What kernels of operations inside of others' do not check themselves."""
    if base.startswith("_fft"):
        rank, axes = given["self"].dim(), _listed(given["dim"])
        if len(set(axes)) != len(axes) or not all(0 <= axis < rank for axis in axes):
            raise _Refused(f"there are no axes {axes}")
        if not 0 <= given["normalization"] <= 2:
            raise _Refused(f"there is no normalization {given['normalization']}")
        if base == "_fft_c2r" and given["last_dim_size"] // 2 + 1 != given["self"].shape[axes[-1]]:
            raise _Refused(f"{base!r} makes {given['last_dim_size']:,} numbers of too few")
    if base == "_native_batch_norm_legit":
        source = given["input"]
        channels = source.shape[1] if source.dim() > 1 else -1
        others = [item for name, item in given.items() if isinstance(item, torch.Tensor) and name != "input"]
        if any(tuple(each.shape) != (channels,) for each in others):
            raise _Refused(f"{base!r} needs as many numbers as there are channels")
    if base == "rrelu_with_noise" and given["self"].shape != given["noise"].shape:
        raise _Refused(f"{base!r} needs noise of the same shape")


def _length(base: str, given: dict[str, Any]) -> int:
    """How many elements an operation makes that no tensor gives a size."""
    if base == "arange":
        start, end, step = given.get("start", 0), given["end"], given.get("step", 1)
        return (
            1 << 62
            if not step or not all(map(math.isfinite, (start, end, step)))
            else _steps(end - start, step)
        )
    if base in ("tril_indices", "triu_indices"):
        return 2 * max(given["row"], 0) * max(given["col"], 0)
    if base == "eye":
        return max(given["n"], 0) * max(given.get("m", given["n"]), 0)
    size = given.get("size", given.get("steps", given.get("n", given.get("window_length", 1))))
    return math.prod(max(each, 0) for each in _listed(size))


def _steps(length: float, step: float) -> int:
    ratio = length / step
    return 1 << 62 if not math.isfinite(ratio) else math.ceil(max(ratio, 0))
