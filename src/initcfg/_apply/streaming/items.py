"""Items: what a checkpoint of a planned model holds, and how each tensor of it is made.

They are the tensors of the model's ``state_dict``, in its order. Nothing is written here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from initcfg._apply.preconditions import check_fits
from initcfg._model import Entry, Names, is_sharded, named_tensors, sharing_memory
from initcfg._plan import Assignment, Plan
from initcfg._record import close_pending, reopen_all
from initcfg._stream.writing import PLAIN_TENSORS, memory_problem
from initcfg.errors import ApplyError, TensorError
from initcfg.values import (
    Computed,
    Constant,
    CopyOf,
    Formula,
    FromBatch,
    FromCheckpoint,
    Keep,
    Opaque,
    Value,
    dtype_name,
    dtype_problem,
)

Way = Literal["streamed", "whole", "loaded", "resident"]
"""How a tensor is made: piece by piece, whole and alone, read from a checkpoint, or taken from the model."""

_FLOATS = ("float16", "bfloat16", "float32", "float64")
DTYPES = ("bfloat16", "float16", "float32")
"""What ``--dtype`` can be."""


@dataclass(frozen=True)
class Item:
    """A tensor to be stored.

    Attributes:
        key: Its key in the checkpoint: that of the ``state_dict``, of tied names the first.
        others: Its other keys there, if it is tied.
        name: Its canonical name, in plan and ledger; the key itself where the model does not know it.
        dtype: The type that it is stored as.
    """

    key: str
    others: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    value: Value
    way: Way

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class Outline:
    """What is to be stored of a planned model.

    Attributes:
        plan: The plan, in the types that are stored.
        items: The tensors.
        in_memory: Why the plan must be applied to the model in memory first; None if it need not.
        left_out: Keys of the ``state_dict`` that are not tensors.
    """

    plan: Plan
    items: tuple[Item, ...]
    in_memory: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of bytes."""
        return sum(item.size for item in self.items)


def outlined(plan: Plan, model: nn.Module, *, dtype: str | None = None, rng: str = "stream") -> Outline:
    """What is to be stored of a model, of which no weight is read: it may be on the meta device, or sharded.

    ``dtype`` is the type that floating-point tensors are stored as; their own if None.
    """
    names = named_tensors(model)
    check_fits(plan, names, rng, memory=False)
    state, left_out = state_of(model)
    stored = plan if dtype is None else _cast(plan, dtype)
    reason = _why_in_memory(plan, names, state, rng)
    shared = _sharing(names)
    keys: dict[int, list[str]] = {}
    for key, tensor in state.items():
        keys.setdefault(id(tensor), []).append(key)
    items: list[Item] = []
    for identity, (key, *others) in keys.items():
        tensor = state[key]
        entry = names.entries.get(identity)
        name = key if entry is None else entry.name
        planned = stored.parameters.get(name) or stored.buffers.get(name)
        value = Keep() if planned is None or entry is None or entry.holder else planned.value
        # Where there is no element, any value is as good.
        nothing = 0 in tensor.shape
        way: Way = "resident" if reason or identity in shared else "streamed" if nothing else _way(value)
        value = Constant(0.0) if nothing else value
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
            raise TensorError(
                f"{key!r} is sparse, quantized or nested, and no checkpoint of this kind stores that.",
                parameter=name,
                fix="Initialize the dense floating-point model, then convert it.",
            )
        if way == "resident" and reason is None:
            _check_resident(tensor, name, entry, planned)
        kind = tensor.dtype
        if dtype is not None and dtype_name(kind) in _FLOATS:
            kind = getattr(torch, dtype)
        items.append(Item(key, tuple(others), name, tuple(tensor.shape), kind, value, way))
    return Outline(stored, tuple(items), reason, left_out)


def _cast(plan: Plan, dtype: str) -> Plan:
    """The plan of the same model in another floating-point type.

    The stream samples in float32 and rounds once, so that what it makes of a float32 tensor's value in
    bfloat16 is the float32 tensor, rounded.
    """

    def cast(item: Assignment) -> Assignment:
        if item.dtype not in _FLOATS or item.dtype == dtype:
            return item
        problem = dtype_problem(item.value, getattr(torch, dtype))
        if problem is not None:
            raise ApplyError(
                f"{item.value} cannot be written as {dtype}: {problem}.",
                where=item.rule,
                parameter=item.name,
                shape=item.shape,
            )
        return replace(item, dtype=dtype)

    parameters = {name: cast(item) for name, item in plan.parameters.items()}
    buffers = {name: cast(item) for name, item in plan.buffers.items()}
    return replace(plan, parameters=parameters, buffers=buffers)


def state_of(model: nn.Module) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """The tensors of a model's ``state_dict``, pending or not; and the keys of what is none."""
    # A pending model refuses: here its tensors are looked at, and not their numbers.
    reopen_all(model)
    try:
        state = model.state_dict(keep_vars=True)
    finally:
        close_pending(model.modules())
    tensors = {str(key): item for key, item in state.items() if isinstance(item, torch.Tensor)}
    return tensors, tuple(str(key) for key in state if key not in tensors)


def _way(value: Value) -> Way:
    while isinstance(value, CopyOf):
        value = value.value
    if isinstance(value, (Keep, Computed, Opaque)):
        return "resident"
    if isinstance(value, Formula) and value.begins_with_itself:
        return "resident"
    if isinstance(value, FromCheckpoint):
        return "loaded" if value.blockwise else "whole"
    return "streamed" if value.blockwise else "whole"


def _why_in_memory(plan: Plan, names: Names, state: dict[str, torch.Tensor], rng: str) -> str | None:
    if rng == "torch":
        return "torch's generator draws them in the order of the model's own code"
    if found := next((each.value for each in plan.values() if isinstance(each.value, FromBatch)), None):
        return f"a batch must run through it ({found.scheme})"
    if plan.tape is not None and plan.tape.calls:
        return f"code of the model's own must run ({plan.tape.calls[0][1].code})"
    stranger = next((key for key, tensor in state.items() if id(tensor) not in names.entries), None)
    return stranger and f"its state_dict holds {stranger!r}, which is not a tensor of its modules"


def _sharing(names: Names) -> set[int]:
    """Tensors that share memory with others: what one gets, the others get too, in the plan's order."""
    stored = (tensor for entry in names.entries.values() for tensor in entry.stored)
    return sharing_memory(
        each
        for each in stored
        if type(each) in PLAIN_TENSORS and each.layout is torch.strided and not each.is_meta
    )


def _check_resident(tensor: torch.Tensor, name: str, entry: Entry | None, planned: Assignment | None) -> None:
    problem = memory_problem(tensor)
    if problem is None and not is_sharded(tensor):
        return
    what, fix = problem or (
        "is a DTensor, whose numbers are on several ranks",
        "Save it by torch.distributed.checkpoint.",
    )
    why = "keeps what it holds" if planned is None else f"is {planned.value}"
    if entry is not None and entry.holder:
        why = "is parametrized"
    raise TensorError(
        f"{name!r} {why}, so it is taken from the model's memory, but it {what}.",
        parameter=name,
        shape=tuple(tensor.shape),
        fix="Build the model with initcfg.deferred(), not on meta." if tensor.is_meta else fix,
    )
