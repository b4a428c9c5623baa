"""Assertions: a model has its weights, and a plan is what it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from initcfg._api import plan as plan_of
from initcfg._apply import last_plan
from initcfg._config.files import write_atomically
from initcfg._model import named_tensors, unwrapped
from initcfg._plan import Ledger, Plan
from initcfg._plan.compare import compare, read_saved
from initcfg._plan.report import diff_view
from initcfg._record import waits
from initcfg.errors import PlanError, as_annotated, plural, render, shown
from initcfg.testing.golden_plans import asked

_SHOWN = 20
_WIDTH = 100


@as_annotated(PlanError)
def assert_initialized(model: nn.Module, *, plan: Plan | Ledger | None = None, finite: bool = True) -> None:
    """Raise AssertionError unless every tensor of a model has its initial value.

    A tensor has none while it is on the meta device, pending (its plan was not applied), without a shape (a
    lazy layer), or where neither a rule nor a constructor wrote it; a tensor that came after the plan is not
    accounted for. NaN and infinity are refused.

    Args:
        model: The model.
        plan: What was done, or should have been; by default the plan that was last applied to the model.
            Where there is none, memory that nobody wrote looks like numbers, and only NaN gives it away.
        finite: Whether NaN and infinity are refused.

    Raises:
        AssertionError: The tensors, each with what is wrong.

    Example:
        >>> from initcfg.testing import assert_initialized
        >>> from torch import nn
        >>> assert_initialized(nn.Linear(2, 2, device="meta"))
        Traceback (most recent call last):
            ...
        AssertionError: 2 tensors are not initialized:
          weight  on the meta device: it has no memory
          bias  on the meta device: it has no memory
    """
    __tracebackhide__ = True
    known = last_plan(model) if plan is None else plan
    faults = {**dict(_faults_of_tensors(unwrapped(model), finite))}
    if known is not None:
        for name, fault in _faults_of_plan(model, known):
            faults.setdefault(name, fault)
    if faults:
        lines = [f"  {shown(name)}  {fault}" for name, fault in faults.items()]
        if len(lines) > _SHOWN:
            lines = [*lines[: _SHOWN - 1], f"  ... and {len(lines) - _SHOWN + 1} more"]
        verb = "is" if len(faults) == 1 else "are"
        raise AssertionError("\n".join([f"{plural(len(faults), 'tensor')} {verb} not initialized:", *lines]))


@as_annotated(PlanError)
def assert_plan_matches(
    model_or_plan: nn.Module | Plan | Ledger, path: str | Path, *, update: bool | None = None
) -> None:
    """Raise AssertionError unless a plan says what the plan in a file does.

    The file is the JSON of a plan, to be kept with the tests. ``pytest --initcfg-update`` writes it where it
    is missing or differs.

    Args:
        model_or_plan: A plan, a ledger, or a model to be planned. Of a model that is built, a plan says only
            that it keeps what it has, but for its rules: give ``initcfg.trace(build)``, or a pending model.
        path: The file; a relative path begins in the folder of the test.
        update: Whether to write it; by default what ``--initcfg-update`` says.

    Raises:
        AssertionError: What differs: A is the file, B is the plan.
        PlanError: The file holds no plan.
    """
    __tracebackhide__ = True
    now = plan_of(model_or_plan) if isinstance(model_or_plan, nn.Module) else model_or_plan
    if not isinstance(now, (Plan, Ledger)):
        raise TypeError(f"A model, a plan or a ledger is compared, not {type(now).__name__}.")
    file = Path(path) if asked.folder is None else asked.folder / path
    anew = asked.update if update is None else update
    if not os.path.exists(file):
        if anew:
            _write(file, now)
            return
        raise AssertionError(
            f"There is no plan to compare with: {shown(file)}.\n  Write it: pytest --initcfg-update"
        )
    try:
        before = read_saved(str(file))
    except PlanError:
        if not anew:
            raise
        before = None
    if before is None and not anew:
        raise PlanError(f"{str(file)!r} holds no plan.", fix="Write it anew: pytest --initcfg-update.")
    found = None if before is None else compare(before, now)
    if found is not None and found.same:
        return
    if anew:
        _write(file, now)
        return
    assert found is not None
    raise AssertionError(
        f"The plan is not the one in {shown(file)} (A: the file, B: now).\n"
        f"{render(diff_view(found), _WIDTH).rstrip()}\n  If B is right: pytest --initcfg-update"
    )


def _write(file: Path, plan: Plan | Ledger) -> None:
    write_atomically(file, (json.dumps(plan.to_json(), indent=1, default=str) + "\n").encode())
    asked.updated.append(str(file))


def _faults_of_tensors(model: nn.Module, finite: bool) -> Iterator[tuple[str, str]]:
    """What the tensors themselves give away."""
    for items in (model.named_parameters(), model.named_buffers()):
        for name, tensor in items:
            if is_lazy(tensor):
                yield name, "without a shape: its layer has seen no batch"
            elif tensor.is_meta:
                yield name, "on the meta device: it has no memory"
            elif waits(tensor):
                yield name, "pending: its plan was not applied"
            elif finite and tensor.layout is torch.strided and _bad(tensor):
                yield name, f"{_bad(tensor):,} of {tensor.numel():,} elements are NaN or infinite"


def _bad(tensor: torch.Tensor) -> int:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    return int((~tensor.detach().isfinite()).sum())


def _faults_of_plan(model: nn.Module, plan: Plan | Ledger) -> Iterator[tuple[str, str]]:
    """What nobody wrote, and what came, went or changed after it was planned."""
    never: Mapping[str, Any] = dict.fromkeys(plan.uninitialized) if isinstance(plan, Plan) else {}
    partly: Mapping[str, Any] = dict.fromkeys(plan.partly_written) if isinstance(plan, Plan) else {}
    names = named_tensors(unwrapped(model))
    here = {name for entry in names.entries.values() for name in entry.names}
    for entry in names.parameters:
        item = plan.get(entry.name)
        if item is None:
            yield entry.name, "not accounted for: the plan does not know it"
        elif entry.name in never:
            yield entry.name, "never written: no rule and no constructor fills it"
        elif entry.name in partly:
            yield entry.name, "partly written: only a part of it has a value"
        elif tuple(item.shape) != tuple(entry.shape):
            yield entry.name, f"of shape {tuple(entry.shape)}, and was planned as {tuple(item.shape)}"
    for name in plan:
        if name not in here:
            yield name, "planned, and not in the model"
