"""Parts: the plan of a module that holds some of a model's tensors, perhaps under other names.

A stage of a pipeline has some of the layers, and may count them anew. Its tensors get what the whole model's
plan says, with the numbers of their names there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from initcfg._model import Entry, named_tensors
from initcfg._plan.assignment import Assignment
from initcfg.errors import PlanError, nearest
from initcfg.values import CopyOf, FromCheckpoint, Keep, Opaque, Value, dtype_name

if TYPE_CHECKING:
    from initcfg._plan.plan import Plan

NameMap = Mapping[str, str] | Callable[[str], str]


def part_of(plan: Plan, module: nn.Module, name_prefix: str, name_map: NameMap | None) -> Plan:
    """See :meth:`Plan.part`."""
    if not isinstance(module, nn.Module):
        raise PlanError(f"A plan's part is that of a torch.nn.Module, not of {module!r}.")
    names = named_tensors(module)
    parameters: dict[str, Assignment] = {}
    buffers: dict[str, Assignment] = {}
    for entry in names.parameters:
        parameters[entry.name] = _assignment(plan, entry, name_prefix, name_map)
    for entry in names.buffers:
        if any(_known(plan, there) for there in _there(entry, name_prefix, name_map)):
            buffers[entry.name] = _assignment(plan, entry, name_prefix, name_map)
    used = {
        item.value.source
        for item in (*parameters.values(), *buffers.values())
        if isinstance(item.value, FromCheckpoint)
    }
    return replace(
        plan,
        parameters=parameters,
        buffers=buffers,
        aliases=names.aliases,
        unused=(),
        loads=tuple(load for load in plan.loads if load.source in used),
        notes=(),
        uncalled=(),
        nested=(),
        uninitialized=(),
        whole=plan.whole or plan.digest,
        tape=None,
        record=None,
        reached=(),
    )


def _assignment(plan: Plan, entry: Entry, name_prefix: str, name_map: NameMap | None) -> Assignment:
    there = _there(entry, name_prefix, name_map)
    found = next((item for name in there if (item := _known(plan, name)) is not None), None)
    if found is None:
        raise PlanError(
            f"The plan has no tensor {there[0]!r}.",
            parameter=entry.name,
            shape=entry.shape,
            meant=nearest(there[0], [*plan.parameters, *plan.buffers]),
            fix="Say its names in the whole model: plan.part(stage, name_prefix=..., name_map=...); a "
            "prefix is taken as it stands, with its dot.",
        )
    if isinstance(found.value, Opaque):
        raise PlanError(
            f"{found.value} is code of the whole model's, which a part cannot run.",
            parameter=found.name,
            shape=found.shape,
            fix="Give this tensor a rule.",
        )
    dtype = dtype_name(entry.tensor.dtype)
    if (found.shape, found.dtype) != (entry.shape, dtype):
        raise PlanError(
            f"The plan's {found.name!r} is {found.dtype} of shape {found.shape}, and here it is {dtype} "
            f"of shape {entry.shape}.",
            parameter=entry.name,
        )
    value = found.value if entry.name == found.name else _under(found.name, found.value)
    return replace(found, name=entry.name, value=value)


def _known(plan: Plan, name: str) -> Assignment | None:
    return plan[name] if name in plan.parameters or name in plan.buffers or name in plan.aliases else None


def _under(name: str, value: Value) -> Value:
    """The value, with the numbers that it has under that name."""
    if isinstance(value, FromCheckpoint) and value.random:
        raise PlanError(
            f"{value} draws new rows by the tensor's name, and the tensor has another name here.",
            parameter=name,
            fix="Keep the whole model's names in the part.",
        )
    alone = isinstance(value, (Keep, CopyOf, FromCheckpoint)) or not value.random
    return value if alone else CopyOf(name, value)


def _there(entry: Entry, name_prefix: str, name_map: NameMap | None) -> list[str]:
    """The names of a tensor in the whole model, one for each of its names here."""
    return [_translated(name, name_prefix, name_map) for name in (entry.name, *entry.names)]


def _translated(name: str, name_prefix: str, name_map: NameMap | None) -> str:
    if callable(name_map):
        return name_prefix + name_map(name)
    found, length = name, -1
    for here, there in (name_map or {}).items():
        inside = name == here or name.startswith(f"{here}.") or not here
        if inside and len(here) > length:
            rest = name[len(here) :].lstrip(".") if here else name
            found, length = ".".join(filter(None, (there, rest))), len(here)
    return name_prefix + found
