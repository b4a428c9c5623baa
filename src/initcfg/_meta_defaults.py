"""Defaults of a model on the meta device: what its layers' ``reset_parameters`` write, recorded.

A constructor that ran on the meta device wrote nothing, and left no trace of what it meant. torch's answer is
to call each module's ``reset_parameters`` once there is memory. The same calls are recorded here, children
before parents, over a shadow of the model. Where a class initializes in another way too, or layers of several
kinds share a tensor, nothing is assumed of the tensors there.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType

import torch
from torch import nn

from initcfg._defaults import MetaDefaults
from initcfg._deferral import patches
from initcfg._deferral.naming import named_values
from initcfg._deferral.outcome import Outcome, Outcomes
from initcfg._deferral.recorder import Recorder
from initcfg._deferral.session import Session
from initcfg._names import Entry, Names, child_items
from initcfg._pending import default_of
from initcfg._plan import Shadowed
from initcfg._tracing.generators import Aside, others_kept
from initcfg._tracing.memory import memory_not_filled
from initcfg._tracing.shadow import shadowed
from initcfg._values import Value
from initcfg.errors import TensorError

_RESETS = ("reset_parameters", "_reset_parameters")
# Methods by which classes initialize; their constructors may call them.
_METHODS = (
    "init_weights",
    "_init_weights",
    "initialize_weights",
    "_initialize_weights",
    "weight_init",
    "_weight_init",
    "init_parameters",
    "initialize_parameters",
    "_init_params",
    "init_params",
)
# What a constructor that initializes by itself names.
_WRITES = frozenset(
    [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    + ["normal_", "uniform_", "fill_", "zero_", "copy_", "mul_", "apply", "trunc_normal_", "constant_init"]
)


def meta_defaults(model: nn.Module, names: Names, executed: Iterable[nn.Module] = ()) -> MetaDefaults:
    """The defaults of a model's tensors on the meta device; of any other tensor, nothing.

    Args:
        model: The model.
        names: Its tensors.
        executed: Modules whose own ``init_weights`` the plan runs.
    """
    missing = [
        entry
        for entry in (*names.parameters, *names.buffers)
        if entry.tensor.is_meta and entry.holder is None and default_of(entry.tensor) is None
    ]
    if not missing or patches.current.get() is not None:
        return MetaDefaults()
    codes = dict(_codes(model, "", {id(each) for each in executed}, None))
    owners = {id(tensor): module for module in model.modules() for tensor in _own(module)}
    unsure = {entry.name: _unsure(entry, codes) for entry in missing}
    outcomes = _recorded(model, {each.name: owners[id(each.tensor)] for each in missing})
    found = {
        name: outcome
        for name, outcome in outcomes.items()
        if outcome.written and outcome.value is not None and unsure[name] is None
    }
    values = named_values(found.items())
    return MetaDefaults(
        {name: _write(outcome, values[name]) for name, outcome in found.items()},
        {name: reason for name, reason in unsure.items() if name not in found},
    )


def _own(module: nn.Module) -> list[torch.Tensor]:
    tensors = (*module._parameters.values(), *module._buffers.values())
    return [tensor for tensor in tensors if tensor is not None]


def _write(outcome: Outcome, value: Value) -> Shadowed:
    layer = outcome.layer
    return Shadowed("" if layer is None else layer.code, value, None if layer is None else layer.call)


# -- the record ----------------------------------------------------------------------------------


def _recorded(model: nn.Module, owners: Mapping[str, nn.Module]) -> dict[str, Outcome]:
    """What the tensors of these names hold after every ``reset_parameters``."""
    recorder = Recorder(Aside())
    try:
        with others_kept(), memory_not_filled(), shadowed(model) as own:
            for tensor, original in own:
                recorder.know(tensor, original)
            with torch.no_grad(), Session(recorder, generators=Aside()):
                for reset in _resets(model):
                    # Code that fails on untouched memory says nothing.
                    with contextlib.suppress(Exception):
                        reset()
            now: dict[str, torch.Tensor] = {}
            for name, module in owners.items():
                attribute = name.rpartition(".")[2]
                tensor = module._parameters.get(attribute)
                tensor = module._buffers.get(attribute) if tensor is None else tensor
                if tensor is not None:
                    now[name] = tensor
            return Outcomes(recorder).of_all(now)
    except TensorError:
        return {}


def _resets(module: nn.Module, seen: set[int] | None = None) -> Iterator[Callable[[], object]]:
    """The methods, children before parents, as constructors call them."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    for child in module.children():
        yield from _resets(child, seen)
    method = next((found for name in _RESETS if (found := getattr(module, name, None))), None)
    if callable(method) and _needs_nothing(method):
        yield method


def _needs_nothing(method: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(
        each.default is not each.empty or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        for each in parameters
    )


# -- what else may initialize --------------------------------------------------------------------


def _unsure(entry: Entry, codes: Mapping[str, str]) -> str | None:
    """Why ``reset_parameters`` may not be what the constructor did with a tensor."""
    owners = [name.rpartition(".")[0] for name in entry.names]
    for owner in owners:
        if owner in codes:
            return codes[owner]
    if len(set(owners)) > 1:
        return f"one of its owners, {' and '.join(dict.fromkeys(owners))}"
    return None


def _codes(
    module: nn.Module, name: str, executed: Collection[int], above: str | None
) -> Iterator[tuple[str, str]]:
    """The modules at or below which other code may initialize, and what that code is."""
    found = above if id(module) in executed else (_other_code(type(module)) or above)
    if found is not None:
        yield name, found
    for child_name, child in child_items(module, name):
        yield from _codes(child, child_name, executed, found)


@lru_cache(maxsize=4096)
def _other_code(cls: type) -> str | None:
    for base in cls.__mro__:
        if base.__module__.startswith("torch.") or base.__name__ == "BaseModule":
            continue
        for method in _METHODS:
            if method in vars(base):
                return f"{base.__name__}.{method}"
        constructor = vars(base).get("__init__")
        if isinstance(constructor, FunctionType) and _all_names(constructor, cls) & _WRITES:
            return f"{base.__name__}.__init__"
    return None


def _all_names(function: FunctionType, cls: type) -> set[str]:
    """The names that a constructor uses, and those in methods and functions that it names, in turn."""
    names: set[str] = set()
    waiting, seen = [function], {function}
    while waiting:
        each = waiting.pop()
        own = _names_of(each.__code__)
        names |= own
        for name in own.difference(_RESETS):
            for found in (getattr(cls, name, None), each.__globals__.get(name)):
                if (
                    isinstance(found, FunctionType)
                    and found not in seen
                    and not (found.__module__ or "").startswith("torch.")
                ):
                    seen.add(found)
                    waiting.append(found)
    return names


def _names_of(code: CodeType) -> frozenset[str]:
    """The names that code uses, and the functions in it."""
    inner = [_names_of(each) for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(code.co_names).union(*inner)
