"""The door: ``plan = initcfg.trace(build)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from initcfg._model import Entry, named_tensors, unwrapped
from initcfg._plan import Assignment, Plan, effect
from initcfg._record.recorded import recorded
from initcfg._record.recording import (
    OTHERWISE,
    Outcome,
    Outcomes,
    Recorder,
    current_session,
    named_values,
    region_of,
)
from initcfg._record.trace_record import TracedTensor, TraceRecord
from initcfg.errors import BuildError
from initcfg.values import Keep, Opaque, Value, dtype_name


def trace(build_or_init: Callable[..., Any], model: nn.Module | None = None) -> Plan:
    """The plan of code that initializes a model: it runs, and its writes are recorded in place of done.

    What it fills with something that has a name becomes a :class:`initcfg.values.Value`; what it computes
    from that, a :class:`initcfg.values.Formula`. Tensors that depend on random numbers at which the code
    looks are :class:`initcfg.values.Opaque`, with the reason: applying runs the code for them.

    Code that looks at random numbers is run twice more, on others: what comes out otherwise depends on them.
    Nothing else is drawn and no memory is filled, so a model larger than memory can be traced; torch's,
    NumPy's and Python's generators, ``torch.nn.init`` and a given model are left as they were.

    Args:
        build_or_init: A function that builds a model and returns it; or, with ``model``, one that
            initializes that model, called with it if it takes an argument.
        model: The model to initialize, which stays as it is.

    Returns:
        The plan. Each assignment's ``rule`` is the file, line and function that decided; buffers are in it
        too. It applies to any model of the same parameters: ``plan.apply(other, seed=0)``, or
        ``rng="torch"`` for the numbers that the code itself would draw.

    Raises:
        BuildError: The function returned no module, or trace was called from within itself.
        TensorError: ``model`` has tensors that are not in this machine's memory.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.trace(lambda: nn.Linear(4, 2))
        >>> print(plan["weight"].value, plan["weight"].initializer["type"])
        Uniform(a=-0.5, b=0.5) kaiming_uniform_
        >>> model = nn.Linear(4, 2)
        >>> plan = initcfg.trace(lambda module: nn.init.zeros_(module.bias), model)
        >>> print(plan["weight"].value, plan["bias"].value)
        Keep Constant(0)
    """
    if current_session() is not None:
        raise BuildError(
            "A trace was begun inside of another, or of a deferred build.",
            fix="Call initcfg.trace outside of initcfg.deferred() and of traced code.",
        )
    if model is not None and not isinstance(model, nn.Module):
        raise BuildError(f"trace(init, model) takes a torch.nn.Module, not {model!r}.")
    run = _runner(build_or_init, model)
    plan, looked = traced(run, model)
    return plan if looked is None else without_luck(plan, looked, run, model)


def traced(run: Callable[[], nn.Module], model: nn.Module | None, seed: int = 0) -> tuple[Plan, str | None]:
    """The plan of code, run once.

    Args:
        run: The code.
        model: The model that was there before.
        seed: Of what it draws to look at.

    Returns:
        The plan, and where the code got to see random numbers; None if it did not.
    """
    with recorded(model, seed=seed) as recording:
        with recording.code():
            made = run()
        recorder, generator = recording.recorder, recording.generator
        plan = _plan(made, recorder, run, model)
        record = plan.record
        assert isinstance(record, TraceRecord) and generator is not None
        looked = next((step.seen for step in recorder.log.steps if step.seen is not None), None)
        if recording.others_moved():
            looked = looked or "Python's or NumPy's generator"
            record.again = record.again or "it draws from Python's or NumPy's generator"
        if recording.torch_moved():
            record.again = "torch's generator moves where a trace does not see it (in another thread?)"
            looked = looked or "in another thread"
        if generator.touched is not None:
            record.again = record.again or f"it seeds torch's generator ({generator.touched})"
            note = (
                f"The code seeds torch's generator, or saves its state ({generator.touched}): under the "
                "stream the seed of apply decides instead, and draws that are repeated so are independent."
            )
            plan = replace(plan, notes=(*plan.notes, note))
        return plan, looked


def _runner(function: Callable[..., Any], model: nn.Module | None) -> Callable[[], nn.Module]:
    """The code as a function without arguments that returns the model."""
    if not callable(function):
        raise BuildError(f"trace takes a function that builds or initializes a model, not {function!r}.")

    def build() -> nn.Module:
        made = function()
        if not isinstance(made, nn.Module):
            raise BuildError(
                f"The traced function returned {type(made).__name__}, and should return the torch.nn.Module "
                "that it builds.",
                fix="Return the model; to trace code that initializes a model that exists, "
                "pass it: initcfg.trace(init, model).",
            )
        return made

    if model is None:
        return build
    takes_model = _needs_argument(function)

    def initialize() -> nn.Module:
        if takes_model:
            function(model)
        else:
            function()
        return model

    return initialize


def _needs_argument(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        for each in parameters
    )


# -- code that looks at random numbers -----------------------------------------------------------


def without_luck(plan: Plan, looked: str, run: Callable[[], nn.Module], model: nn.Module | None) -> Plan:
    """The plan without what would have come out otherwise, had the code seen other random numbers."""
    lucky: set[str] = set()
    refused: str | None = None
    for seed in (1, 2):
        try:
            other, _ = traced(run, model, seed)
        except Exception as error:
            refused = f"{type(error).__name__}: {error}"
            continue
        for name, item in (*plan.parameters.items(), *plan.buffers.items()):
            found = other.parameters.get(name) or other.buffers.get(name)
            if not isinstance(item.value, Opaque) and effect(found) != effect(item):
                lucky.add(name)

    def said(item: Assignment) -> Assignment:
        if item.name not in lucky:
            return item
        reason = f"{item.rule or '?'}: it depends on random numbers at which the code looks ({looked})"
        return replace(item, value=Opaque(reason, Keep()), initializer=None)

    note = (
        f"The code looks at random numbers ({looked}) and does not bear being run on others ({refused}): "
        "what depends on them may be missed."
    )
    return replace(
        plan,
        notes=plan.notes if refused is None else (*plan.notes, note),
        parameters={name: said(item) for name, item in plan.parameters.items()},
        buffers={name: said(item) for name, item in plan.buffers.items()},
    )


# -- from the record to the plan -----------------------------------------------------------------


def _plan(
    model: nn.Module, recorder: Recorder, run: Callable[[], nn.Module], existing: nn.Module | None
) -> Plan:
    model = unwrapped(model)
    names = named_tensors(model)
    lying: list[TracedTensor] = []
    again: str | None = None
    for entry in dict.fromkeys(names.entries.values()):
        for tensor in entry.stored:
            tracked = recorder.tracked(tensor) or recorder.track_foreign(tensor)
            if tracked is None:
                again = again or f"{entry.name} is no plain tensor"
                continue
            if tracked.exposed:
                again = again or f"the memory of {entry.name} was handed out"
            lying.append(TracedTensor(entry.name, tracked, region_of(tensor)))
    for step in recorder.log.steps:
        if step.seen is not None or step.hidden is not None:
            again = again or step.hidden or f"code looks at its random numbers ({step.seen})"
            break
        operation = getattr(getattr(step.func, "_schema", None), "name", None)
        if operation in OTHERWISE:
            again = again or f"torch computes {operation} in another way while it is recorded"
    left = [
        f"{each.name} is sparse or quantized: the plan leaves it as the model has it."
        for each in dict.fromkeys(names.entries.values())
        if each.tensor.layout is not torch.strided or each.tensor.is_quantized
    ]
    found = Outcomes(recorder)
    entries = list(dict.fromkeys(names.entries.values()))
    bare = found.of_all({each.name: each.stored[-1] for each in entries})
    outcomes = {each.name: _outcome(each, bare[each.name]) for each in entries}
    values = named_values((name, outcome) for name, outcome in outcomes.items() if outcome.value is not None)
    return Plan(
        parameters={each.name: _assign(each, outcomes[each.name], values) for each in names.parameters},
        buffers={
            each.name: _assign(each, outcomes[each.name], values)
            for each in names.buffers
            if outcomes[each.name].written
        },
        aliases=names.aliases,
        uninitialized=tuple(
            each.name for each in names.parameters if not outcomes[each.name].written and existing is None
        ),
        notes=(
            *left,
            *(
                f"at {place} code looks at random numbers: what it does after may be otherwise for others"
                for place in dict.fromkeys(step.seen for step in recorder.log.steps if step.seen)
            ),
        ),
        record=TraceRecord(run, existing, model, recorder, lying, again),
    )


def _outcome(entry: Entry, last: Outcome) -> Outcome:
    if entry.holder is None:
        return last
    module, attribute = entry.holder
    chain = module.parametrizations[attribute]  # type: ignore[index]
    classes = [type(each).__name__ for each in chain]  # type: ignore[union-attr]
    if not last.written:
        return last
    if all(name in ("_WeightNorm", "_SpectralNorm") for name in classes):
        # Written through the parametrization, it makes its parts again as it made them.
        return last
    return Outcome(None, f"it is parametrized by {', '.join(classes)}", last.layer)


def _assign(entry: Entry, outcome: Outcome, values: dict[str, Value]) -> Assignment:
    layer = outcome.layer
    where = None if layer is None else f"{layer.place} {layer.code}"
    value: Value = values.get(entry.name, Keep())
    if outcome.value is None and outcome.written:
        value = Opaque(f"{layer.code if layer else '?'}: {outcome.reason}", Keep())
    frozen = not entry.buffer and not entry.tensor.requires_grad
    return Assignment(
        name=entry.name,
        shape=entry.shape,
        dtype=dtype_name(entry.tensor.dtype),
        value=value,
        initializer=layer.call if layer is not None and outcome.value is not None else None,
        rule=where if outcome.written else None,
        frozen=frozen,
    )
