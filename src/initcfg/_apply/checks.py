"""The checks before the first byte is written."""

from __future__ import annotations

from collections.abc import Mapping

from initcfg._model import Entry, Names, is_sharded, local_blocks, local_of
from initcfg._plan import Assignment, Plan
from initcfg._record import waits
from initcfg._stream.writing import memory_problem
from initcfg.errors import ApplyError, TensorError, nearest
from initcfg.values import (
    Computed,
    Formula,
    FromCheckpoint,
    Keep,
    Opaque,
    dtype_name,
    dtype_problem,
    shape_problem,
)


def check_fits(plan: Plan, names: Names, rng: str, *, memory: bool = True) -> None:
    """The plan must be for this model, and every tensor that it writes must be writable.

    Args:
        plan: The plan.
        names: The model's tensors.
        rng: ``"stream"`` or ``"torch"``.
        memory: Whether it is the tensors' own memory that will be written.

    Raises:
        ApplyError: It is not.
        TensorError: A tensor is of a kind that cannot be written.
    """
    if plan.tape is None and plan.record is None:
        if rng == "torch":
            raise ApplyError(
                "A plan that was read from JSON has no record of the draws in their order, and "
                "rng='torch' needs one.",
                fix="Use rng='stream', or plan the model again.",
            )
        items = (*plan.parameters.values(), *plan.buffers.values())
        if any(isinstance(item.value, Opaque) for item in items):
            raise ApplyError(
                "This plan was read from JSON, and holds code of the model's own, which JSON cannot carry.",
                fix="Plan the model again.",
            )
    entries = {entry.name: entry for entry in names.entries.values()}
    _check_sharded(plan, entries, rng)
    runs_code = bool(plan.tape and plan.tape.calls)
    for assignments, kind in ((plan.parameters, "parameter"), (plan.buffers, "buffer")):
        for name, assignment in assignments.items():
            entry = entries.get(name)
            if entry is None:
                raise ApplyError(
                    f"The plan has a {kind} {name!r}, and this model has not: it was made for another one.",
                    meant=nearest(name, entries),
                    fix="Plan this model.",
                )
            _check_same(assignment, entry)
            found = dtype_problem(assignment.value, entry.tensor.dtype) or shape_problem(
                assignment.value, entry.shape
            )
            if found is not None:
                raise ApplyError(
                    f"{assignment.value} cannot be written: {found}.",
                    where=assignment.rule,
                    parameter=name,
                    shape=entry.shape,
                )
            if isinstance(assignment.value, Keep) and waits(entry.tensor):
                raise ApplyError(
                    "The plan keeps this parameter as it is, but its model was built deferred, so that it "
                    "holds nothing yet.",
                    parameter=name,
                    shape=entry.shape,
                    fix="Plan this model: initcfg.plan(model).",
                )
            if memory and (runs_code or not isinstance(assignment.value, Keep)):
                _check_writable(entry)
    for entry in names.parameters:
        if entry.name not in plan.parameters:
            if entry.name in plan.aliases:
                other = plan.aliases[entry.name]
                raise ApplyError(
                    f"The parameter {entry.name!r} is one tensor with {other!r} where the plan was made, and "
                    "in this model they are two, which training would drive apart.",
                    parameter=entry.name,
                    shape=entry.shape,
                    fix="Tie them again: parallelize_module and copies take them apart, and fully_shard "
                    "keeps what is tied.",
                )
            raise ApplyError(
                f"This model has a parameter {entry.name!r} that the plan does not know: it was made for "
                "another one.",
                fix="Plan this model.",
            )


def _check_sharded(plan: Plan, entries: Mapping[str, Entry], rng: str) -> None:
    """What only whole tensors allow."""
    sharded = [entry for entry in entries.values() if any(map(is_sharded, entry.stored))]
    if not sharded:
        return
    first = sharded[0]
    if rng == "torch":
        raise ApplyError(
            "Some parameters are sharded, and torch's generator draws whole tensors one after another.",
            parameter=first.name,
            shape=first.shape,
            fix="Use rng='stream', which makes each shard alone.",
        )
    if plan.tape is not None and plan.tape.calls and _code_is_left(plan):
        call = plan.tape.calls[0][1]
        raise ApplyError(
            f"{call.code} of {call.module or 'the model'} would run when the plan is applied, since what it "
            "does could not be said as values; and some parameters are sharded, which it does not know.",
            parameter=first.name,
            shape=first.shape,
            fix="Initialize before sharding, or say what it does by rules.",
        )
    for entry in sharded:
        item = plan.parameters.get(entry.name) or plan.buffers.get(entry.name)
        value = Keep() if item is None else item.value
        if isinstance(value, Keep):
            continue
        if isinstance(value, Computed):
            raise ApplyError(
                f"{value} was computed while the model was built, from random numbers that each rank drew "
                "for itself; and it is sharded.",
                parameter=entry.name,
                shape=entry.shape,
                fix="Give it a rule.",
            )
        try:
            for tensor in entry.stored:
                local_blocks(tensor)
        except TensorError as error:
            error.parameter = entry.name
            raise
        if entry.holder is not None and not isinstance(value, FromCheckpoint):
            raise TensorError(
                "This weight is parametrized and sharded: what the layer sees is computed from the whole.",
                where=None if item is None else item.rule,
                parameter=entry.name,
                shape=entry.shape,
                fix="Initialize the model before it is sharded.",
            )
        if isinstance(value, Formula) and value.begins_with_itself:
            raise TensorError(
                f"{value} begins with what the tensor holds, and it is sharded: no rank holds the whole.",
                where=None if item is None else item.rule,
                parameter=entry.name,
                shape=entry.shape,
                fix="Initialize the model before it is sharded.",
            )


def _code_is_left(plan: Plan) -> bool:
    """Whether some tensor is still left to the model's own code."""
    return any(isinstance(item.value, Opaque) for item in (*plan.parameters.values(), *plan.buffers.values()))


def _check_same(assignment: Assignment, entry: Entry) -> None:
    dtype = dtype_name(entry.tensor.dtype)
    if assignment.shape != entry.shape or assignment.dtype != dtype:
        raise ApplyError(
            f"The plan was made for {assignment.dtype} of shape {assignment.shape}, and this model has "
            f"{dtype} of shape {entry.shape}.",
            parameter=entry.name,
            shape=entry.shape,
            fix="Plan this model."
            if assignment.shape != entry.shape
            else "Plan this model; trace a build together with what changes its dtype: "
            f"initcfg.trace(lambda: build().to(torch.{dtype})).",
        )


def _check_writable(entry: Entry) -> None:
    for tensor in entry.stored:
        found = memory_problem(local_of(tensor))
        if found is not None:
            what, fix = found
            raise TensorError(
                f"{entry.name!r} cannot be initialized: it {what}.",
                parameter=entry.name,
                shape=entry.shape,
                fix=fix,
            )
