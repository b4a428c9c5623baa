"""The door: ``plan = initcfg.trace(build)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from initcfg._model import fewer_collections, named_tensors, unwrapped
from initcfg._plan import Assignment, Plan, effect, make_up_of
from initcfg._record.recorded import recorded
from initcfg._record.recording import current_session
from initcfg._record.relations import together
from initcfg._record.trace_plan import plan_of
from initcfg.errors import BuildError, as_annotated
from initcfg.values import Keep, Opaque


@as_annotated(BuildError)
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
    run = _runner(build_or_init, model)
    with fewer_collections():
        plan, looked = _traced(run, model)
        if looked is not None:
            plan = _without_chance(plan, looked, run, model)
        return together(plan)


def _traced(run: Callable[[], nn.Module], model: nn.Module | None, seed: int = 0) -> tuple[Plan, str | None]:
    """The plan of code, run once, and where it saw random numbers (of this seed); None if it did not."""
    before = None if model is None else make_up_of(named_tensors(unwrapped(model)))
    with recorded(model, seed=seed) as recording:
        with recording.code():
            made = run()
        steps = recording.recorder.log.steps
        looked = next((step.seen for step in steps if step.seen is not None), None)
        if recording.others_moved():
            looked = looked or "Python's or NumPy's generator"
        if recording.torch_moved():
            looked = looked or "in another thread"
        return plan_of(made, recording, run, model, before), looked


def _runner(function: Callable[..., Any], model: nn.Module | None) -> Callable[[], nn.Module]:
    """The code as a function without arguments that returns the model."""
    needs = _needs_argument(function)
    if isinstance(function, nn.Module) or (needs and model is None):
        raise BuildError(
            f"trace takes a function without arguments that builds a model, not {_called(function)}.",
            fix="Write a function around it: initcfg.trace(lambda: ...).",
        )
    takes_model = model is not None and needs

    def run() -> nn.Module:
        made = function(model) if takes_model else function()
        if model is not None:
            return model
        if not isinstance(made, nn.Module):
            raise BuildError(
                f"The traced function returned {type(made).__name__}, and should return the torch.nn.Module "
                "that it builds.",
                fix="Return the model; to trace code that initializes a model that exists, "
                "pass it: initcfg.trace(init, model).",
            )
        return made

    return run


def _called(function: Any) -> str:
    return f"a {type(function).__name__}" if isinstance(function, nn.Module) else repr(function)


def _needs_argument(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except ValueError:
        # Written in C, without a signature.
        return False
    except TypeError:
        return True
    return False


def _without_chance(plan: Plan, looked: str, run: Callable[[], nn.Module], model: nn.Module | None) -> Plan:
    """The plan without what would have come out otherwise, had the code seen other random numbers."""
    by_chance: set[str] = set()
    notes = plan.notes
    for seed in (1, 2):
        try:
            other, _ = _traced(run, model, seed)
        except Exception as error:
            notes = (
                *plan.notes,
                f"The code looks at random numbers ({looked}) and cannot be run on others "
                f"({type(error).__name__}: {error}): what depends on them may be missed.",
            )
            continue
        for name, item in (*plan.parameters.items(), *plan.buffers.items()):
            found = other.parameters.get(name) or other.buffers.get(name)
            if not isinstance(item.value, Opaque) and effect(found) != effect(item):
                by_chance.add(name)

    def without(items: Mapping[str, Assignment]) -> dict[str, Assignment]:
        kept = dict(items)
        for name in by_chance.intersection(kept):
            rule = kept[name].rule or "code"
            reason = f"{rule}: it depends on random numbers at which the code looks ({looked})"
            kept[name] = replace(kept[name], value=Opaque(reason, Keep()), initializer=None)
        return kept

    return replace(plan, notes=notes, parameters=without(plan.parameters), buffers=without(plan.buffers))
