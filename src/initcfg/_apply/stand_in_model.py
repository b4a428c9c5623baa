"""A model that stands in for the one that a saved plan was made for: its tensors by name, no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from initcfg._plan import Assignment, KeptBuffer, Plan
from initcfg.errors import PlanError, plural
from initcfg.values import Computed, Constant, Formula, FromBatch, Hooked, Keep, Opaque, Originals, Value

_SHOWN = 3


def stand_in_model(plan: Plan, *, memory: bool, kept: Mapping[str, KeptBuffer] | None = None) -> nn.Module:
    """A module with the tensors of a plan under their names; on the meta device without ``memory``.

    Args:
        kept: Buffers that no plan speaks of. Those of one number are made, in memory.

    Raises:
        PlanError: The plan leaves a tensor to the model, which is not there.
    """
    items = {**plan.parameters, **plan.buffers}
    left = [(name, why) for name, item in items.items() if (why := _left_to_model(item.value))]
    left += [(name, "changed by code") for name in plan.before_code if name not in dict(left)]
    if left:
        told = ", ".join(f"{name} ({why})" for name, why in left[:_SHOWN])
        more = ", ..." if len(left) > _SHOWN else ""
        raise PlanError(
            f"{plural(len(left), 'tensor')} cannot be made without the model: {told}{more}.",
            fix="Give the config or the builder itself: initcfg init CONFIG -o OUTPUT.",
        )
    others: dict[str, list[str]] = {}
    for alias, name in plan.aliases.items():
        others.setdefault(name, []).append(alias)
    model, device = nn.Module(), "cpu" if memory else "meta"
    order = list(items)
    for place, (name, item) in enumerate(items.items()):
        tensor = _tensor(item, device)
        beside = order[max(place - 1, 0) : place + 2]
        for each in _first_registered(name, others.get(name, []), beside):
            _put(model, each, tensor, buffer=name in plan.buffers)
    for name, each in (kept or {}).items():
        if isinstance(each.value, Constant):
            filled = torch.full(each.shape, each.value.val, dtype=getattr(torch, each.dtype), device="cpu")
            _put(model, name, nn.Parameter(filled, requires_grad=False), buffer=True)
    return model


def _left_to_model(value: Value) -> str | None:
    """Why only the model itself has what a value means; None if the value says it."""
    if isinstance(value, Keep):
        return "kept as its constructor leaves it"
    if isinstance(value, FromBatch):
        return f"computed from data: {value.scheme}"
    if isinstance(value, (Opaque, Computed)):
        return f"written by code: {value.code}"
    if isinstance(value, (Hooked, Originals)):
        return f"loaded from {value.source} by code of the model's own"
    if isinstance(value, Formula) and value.begins_with_itself:
        return "made of what it held before"
    return None


def _tensor(item: Assignment, device: str) -> nn.Parameter:
    made = torch.empty(item.shape, dtype=getattr(torch, item.dtype), device=device)
    return nn.Parameter(made, requires_grad=False)


def _first_registered(name: str, others: Iterable[str], beside: Iterable[str]) -> list[str]:
    """The names of a tied tensor; first the one that was met first, since it lies among its neighbors."""

    def nearness(each: str) -> int:
        return max((_shared(each, other) for other in beside if other != name), default=0)

    return sorted([name, *others], key=lambda each: -nearness(each))


def _shared(a: str, b: str) -> int:
    """How many modules two names have in common."""
    parts = zip(a.split(".")[:-1], b.split(".")[:-1], strict=False)
    return next((n for n, (x, y) in enumerate(parts) if x != y), min(a.count("."), b.count(".")))


def _put(model: nn.Module, name: str, tensor: nn.Parameter, *, buffer: bool) -> None:
    *path, last = name.split(".")
    module = model
    for each in path:
        if each in module._parameters or each in module._buffers:
            raise _conflict(name)
        child = module._modules.setdefault(each, nn.Module())
        assert child is not None
        module = child
    if last in module._modules:
        raise _conflict(name)
    # Straight into the tables: a module may be called what nn.Module has as an attribute.
    if buffer:
        module._buffers[last] = tensor.detach()
    else:
        module._parameters[last] = tensor


def _conflict(name: str) -> PlanError:
    return PlanError(
        f"{name!r} lies in a module of the name of another tensor: no model has both.",
        parameter=name,
        fix="Give a plan or a ledger that initcfg wrote.",
    )
