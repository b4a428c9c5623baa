"""The checks before the first byte is written."""

from __future__ import annotations

from initcfg._limits import problem
from initcfg._names import Entry, Names
from initcfg._pending import waits
from initcfg._plan import Assignment, Plan
from initcfg._shapes import shape_problem
from initcfg._text import nearest
from initcfg._values import Keep, Opaque
from initcfg._writing.memory import memory_problem
from initcfg.errors import ApplyError, TensorError


def check_fits(plan: Plan, names: Names, rng: str, *, memory: bool = True) -> None:
    """The plan must be for this model, and every tensor that it writes must be writable.

    Args:
        plan: The plan.
        names: The tensors of the model.
        rng: ``"stream"`` or ``"torch"``.
        memory: Whether the model's own memory is what will be written.

    Raises:
        ApplyError: It is not.
        TensorError: A tensor is of a kind that cannot be written.
    """
    if plan.tape is None and plan.record is None:
        if rng == "torch":
            raise ApplyError(
                "A plan that was read from JSON has no record of the draws in their order, and "
                "rng='torch' needs one.",
                mend="Use rng='stream', or plan the model again.",
            )
        items = (*plan.parameters.values(), *plan.buffers.values())
        if any(isinstance(item.value, Opaque) for item in items):
            raise ApplyError(
                "This plan was read from JSON, and holds code of the model's own, which JSON cannot carry.",
                mend="Plan the model again.",
            )
    entries = {entry.name: entry for entry in names.entries.values()}
    runs_code = bool(plan.tape and plan.tape.calls)
    for assignments, kind in ((plan.parameters, "parameter"), (plan.buffers, "buffer")):
        for name, assignment in assignments.items():
            entry = entries.get(name)
            if entry is None:
                raise ApplyError(
                    f"The plan has a {kind} {name!r}, and this model has not: it was made for another one.",
                    meant=nearest(name, entries),
                    mend="Plan this model.",
                )
            _check_same(assignment, entry)
            found = problem(assignment.value, entry.tensor.dtype) or shape_problem(
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
                    mend="Plan this model: initcfg.plan(model).",
                )
            if memory and (runs_code or not isinstance(assignment.value, Keep)):
                _check_writable(entry)
    for entry in names.parameters:
        if entry.name not in plan.parameters:
            raise ApplyError(
                f"This model has a parameter {entry.name!r} that the plan does not know: it was made for "
                "another one.",
                mend="Plan this model.",
            )


def _check_same(assignment: Assignment, entry: Entry) -> None:
    dtype = str(entry.tensor.dtype).removeprefix("torch.")
    if assignment.shape != entry.shape or assignment.dtype != dtype:
        raise ApplyError(
            f"The plan was made for {assignment.dtype} of shape {assignment.shape}, and this model has "
            f"{dtype} of shape {entry.shape}.",
            parameter=entry.name,
            shape=entry.shape,
            mend="Plan this model.",
        )


def _check_writable(entry: Entry) -> None:
    for tensor in entry.stored:
        found = memory_problem(tensor)
        if found is not None:
            what, mend = found
            raise TensorError(
                f"{entry.name!r} cannot be initialized: it {what}.",
                parameter=entry.name,
                shape=entry.shape,
                mend=mend,
            )
