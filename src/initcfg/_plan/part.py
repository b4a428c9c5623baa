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
from initcfg._plan.part_hooks import PartHooks
from initcfg.errors import PlanError, in_words, nearest
from initcfg.values import CopyOf, FromBatch, FromCheckpoint, Keep, Opaque, Value, dtype_name

if TYPE_CHECKING:
    from initcfg._plan.plan import Plan

NameMap = Mapping[str, str] | Callable[[str], str]


def part_of(plan: Plan, module: nn.Module, name_prefix: str, name_map: NameMap | None) -> Plan:
    """See :meth:`Plan.part`."""
    if not isinstance(module, nn.Module):
        raise PlanError(
            f"A plan's part is that of a torch.nn.Module, not of {in_words(module)}.", fix="Give the module."
        )
    names = named_tensors(module)
    hooks = PartHooks(module, plan.loads, compat=plan.compat is not None)
    parameters: dict[str, Assignment] = {}
    buffers: dict[str, Assignment] = {}
    for entry in (*names.parameters, *names.buffers):
        # Any of its names here may have one in the whole model.
        there = [_translated(name, name_prefix, name_map) for name in (entry.name, *entry.names)]
        found = next((item for name in there if (item := plan.get(name)) is not None), None)
        if found is not None or not entry.buffer:
            assignment = _assignment(plan, entry, there[0], found, hooks)
            (buffers if entry.buffer else parameters)[entry.name] = assignment
    values = [item.value for item in (*parameters.values(), *buffers.values())]
    sources = {value.source for value in values if isinstance(value, FromCheckpoint)}
    return type(plan)(
        parameters=parameters,
        buffers=buffers,
        aliases=names.aliases,
        loads=tuple(hooks.load(load) for load in plan.loads if load.source in sources),
        rules=plan.rules,
        compat=plan.compat,
        whole=plan.whole or plan.digest,
        seed=plan.seed,
    )


def _assignment(
    plan: Plan, entry: Entry, there: str, found: Assignment | None, hooks: PartHooks
) -> Assignment:
    """What the whole model's plan says of a tensor, under its name here."""
    if found is None:
        raise PlanError(
            f"The plan has no tensor {there!r}.",
            parameter=entry.name,
            shape=entry.shape,
            meant=nearest(there, [*plan.parameters, *plan.buffers]),
            fix="Give its names in the whole model: plan.part(stage, name_prefix=..., name_map=...); a "
            "prefix is taken as it stands, with its dot.",
        )
    if isinstance(found.value, Opaque):
        raise PlanError(
            f"{found.value} is code of the whole model's, which a part cannot run.",
            parameter=found.name,
            shape=found.shape,
            fix="Give this tensor a rule.",
        )
    if isinstance(found.value, FromBatch):
        raise PlanError(
            f"{found.value} runs the whole model, which a part cannot.",
            parameter=found.name,
            shape=found.shape,
            fix="Apply the plan to the whole model, and take the part of the finished plan: ledger.plan.",
        )
    dtype = dtype_name(entry.tensor.dtype)
    if (found.shape, found.dtype) != (entry.shape, dtype):
        raise PlanError(
            f"The plan's {found.name!r} is {found.dtype} of shape {found.shape}, and here it is {dtype} "
            f"of shape {entry.shape}.",
            parameter=entry.name,
        )
    value = found.value if entry.name == found.name else _under(found.name, found.value)
    return replace(found, name=entry.name, value=hooks.value(value, found, entry.name))


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
