"""Defaults: what constructors meant to write, as the first write of each tensor.

A pending model has noted it. A constructor that ran on the meta device wrote nothing, and left no trace of
what it meant. torch's answer is to call each module's ``reset_parameters`` once there is memory. The same
calls are recorded here, children before parents, over a shadow of the model. Where a class initializes in
another way too, or layers of several kinds share a tensor, nothing is assumed of the tensors there.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import CodeType, FunctionType
from typing import NamedTuple

import torch
from torch import nn

from initcfg._model import Entry, Names, Node, buffers_of, parameters_of
from initcfg._plan import FrozenDict, Shadowed
from initcfg._plan.planner import Defaults, Missing
from initcfg._record.pending import chances_of, default_of
from initcfg._record.recorded import recorded
from initcfg._record.recording import Outcome, current_session, named_values, outcomes_of
from initcfg._rules.initializers import torch_default
from initcfg.errors import TensorError

_RESETS = ("reset_parameters", "_reset_parameters")
_TORCH_DEFAULT = FrozenDict(type="TorchDefault")
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


def defaults(names: Names) -> Defaults:
    """The defaults of the pending parameters of a model; of any other model, nothing."""
    # What is known of a tensor is noted on it, and of nearly all there is nothing.
    noted = [entry for entry in names.parameters if entry.tensor.__dict__] if names.noted else []
    found = {entry.name: default_of(entry.tensor) for entry in noted}
    outcomes = {name: default.outcome for name, default in found.items() if default is not None}
    unwritten = {name: None for name, each in outcomes.items() if each.value is None and not each.partly}
    partly = tuple(name for name, each in outcomes.items() if each.partly)
    chances = dict.fromkeys(chance for entry in noted for chance in chances_of(entry.tensor))
    notes = tuple(f"While the model was built, {chance}." for chance in chances)
    return Defaults(_writes(outcomes), {}, unwritten, partly, notes)


def _writes(outcomes: Mapping[str, Outcome]) -> dict[str, Shadowed]:
    values = named_values(outcomes.items())
    return {
        name: Shadowed(outcomes[name].told, value, outcomes[name].call or {})
        for name, value in values.items()
    }


def lost_defaults(names: Names, missing: Sequence[Missing], executed: Iterable[nn.Module] = ()) -> Defaults:
    """The defaults of these tensors on the meta device; ``executed``: modules whose code the plan runs."""
    if not missing or current_session() is not None:
        return Defaults()
    ran = {id(each) for each in executed}
    of_layers, rest = _of_layers(names, missing, ran)
    return replace(_meta_defaults(names, rest, ran), of_layers=of_layers)


def meta_defaults(names: Names, missing: Sequence[Entry]) -> Defaults:
    """The same, one by one, where the plan runs no code."""
    return Defaults() if current_session() is not None else _meta_defaults(names, missing, ())


def _meta_defaults(names: Names, missing: Sequence[Entry], executed: Collection[int]) -> Defaults:
    if not missing:
        return Defaults()
    wanted = {id(entry.tensor) for entry in missing}
    codes, all_places = survey(names.tree, wanted, executed)
    known: dict[str, Shadowed] = {}
    made: dict[tuple[type, int], Shadowed] = {}
    places: dict[str, Place] = {}
    unsure: dict[str, str | None] = {}
    for entry in missing:
        place = all_places[id(entry.tensor)]
        unsure[entry.name] = reason = _unsure(entry, codes)
        if reason is None and (default := _of_torch(place, entry, made)) is not None:
            known[entry.name] = default
        elif reason is None:
            places[entry.name] = place
    outcomes = _recorded(names.tree.module, places) if places else {}
    known.update(_writes({name: outcome for name, outcome in outcomes.items() if outcome.written}))
    return Defaults(
        {entry.name: known[entry.name] for entry in missing if entry.name in known},
        unwritten={name: reason for name, reason in unsure.items() if name not in known},
        partly=tuple(name for name, outcome in outcomes.items() if outcome.partly and name in known),
    )


def _of_layers(
    names: Names, missing: Sequence[Missing], executed: Collection[int]
) -> tuple[dict[int, tuple[Shadowed, ...]], list[Entry]]:
    """The defaults of layers of torch's own that no code reaches but their constructors; the other tensors.

    Of layers that are alike, the defaults are one object.
    """
    alone = _alone(names, executed)
    made: dict[tuple[type, int], Shadowed] = {}
    known: dict[tuple[int, tuple[int, ...]], tuple[Shadowed, ...] | None] = {}
    found: dict[int, tuple[Shadowed, ...]] = {}
    rest: tuple[list[Entry], list[Entry]] = [], []
    for holding, places in missing:
        if holding.like is not None and (alone is None or id(holding) in alone):
            key = id(holding.like), places
            if key not in known:
                entries = (holding.entries[place] for place in places)
                held = [
                    _of_torch(Place(holding.module, entry.name[len(holding.before) :], ()), entry, made)
                    for entry in entries
                ]
                known[key] = None if None in held else tuple(filter(None, held))
            if (row := known[key]) is not None:
                found[id(holding)] = row
                continue
        for place in places:
            entry = holding.entries[place]
            rest[entry.buffer].append(entry)
    return found, [*rest[0], *rest[1]]


def _alone(names: Names, executed: Collection[int]) -> set[int] | None:
    """The holdings of modules in which, and above which, only their constructor initializes; None: all."""
    above = {type(node.module) for node in names.nodes.values()}
    classes = {*map(type, names.others), *(like.cls for like in names.likes.values())}
    if not any(map(_other_code, classes)) and not any(map(_resets, above)):
        return None
    found: set[int] = set()
    waiting = [names.tree]
    while waiting:
        module, _, children, holding = waiting.pop()
        like = None if holding is None else holding.like
        cls = type(module) if like is None else like.cls
        if _other_code(cls) is not None and id(module) not in executed:
            continue
        if holding is not None:
            found.add(id(holding))
        if children and _resets(cls) is None:
            waiting += children
    return found


class Place(NamedTuple):
    """Where a tensor is: its module and attribute, and the modules above whose resets reach it."""

    module: nn.Module
    attribute: str
    resetting: tuple[nn.Module, ...]


def survey(
    tree: Node, wanted: Collection[int], executed: Collection[int]
) -> tuple[dict[str, str], dict[int, Place]]:
    """By module's name: other code that may initialize what is in it. By ``id`` of a tensor: its place."""
    codes: dict[str, str] = {}
    places: dict[int, Place] = {}

    def visit(node: Node, above: str | None, resetting: tuple[nn.Module, ...]) -> None:
        module, name, children, _ = node
        code = above if id(module) in executed else (_other_code(type(module)) or above)
        if code is not None:
            codes[name] = code
        for container in (parameters_of(module), buffers_of(module)):
            for attribute, tensor in container.items():
                if id(tensor) in wanted:
                    places.setdefault(id(tensor), Place(module, attribute, resetting))
        if children and _resets(type(module)):
            resetting = (*resetting, module)
        for child in children:
            visit(child, code, resetting)

    visit(tree, None, ())
    return codes, places


def usual_of_torch(place: Place, entry: Entry) -> Shadowed | None:
    """What the constructor of a layer of torch's own leaves, whatever other code may do after it."""
    return _of_torch(place._replace(resetting=()), entry, {})


def _of_torch(place: Place, entry: Entry, made: dict[tuple[type, int], Shadowed]) -> Shadowed | None:
    """The default of a layer of torch's own that nothing above resets; None of any other.

    ``made`` has those that were made, by class and identity of the value, which they keep.
    """
    cls = type(place.module)
    reset = _resets(cls)
    if place.resetting or reset is None:
        return None
    try:
        value = torch_default(place.module, place.attribute, entry.shape)
    except TensorError:
        return None
    key = cls, id(value)
    if key not in made:
        made[key] = Shadowed(f"{cls.__name__}.{reset}", value, _TORCH_DEFAULT)
    return made[key]


def _recorded(model: nn.Module, places: Mapping[str, Place]) -> dict[str, Outcome]:
    """What the tensors of these names hold after every ``reset_parameters`` that reaches them."""
    wanted = {id(module) for place in places.values() for module in (*place.resetting, place.module)}
    try:
        with recorded(model) as recording:
            with torch.no_grad(), recording.code():
                for module in _children_first(model, set()):
                    method = _reset(module) if id(module) in wanted else None
                    if method is not None:
                        # Code that fails on untouched memory says nothing.
                        with contextlib.suppress(Exception):
                            method()
            tensors = {name: getattr(each.module, each.attribute, None) for name, each in places.items()}
            now = {name: each for name, each in tensors.items() if isinstance(each, torch.Tensor)}
            return outcomes_of(recording.recorder, now)
    except TensorError:
        return {}


def _children_first(module: nn.Module, seen: set[int]) -> Iterator[nn.Module]:
    """The modules in the order in which constructors end."""
    if id(module) not in seen:
        seen.add(id(module))
        for child in module.children():
            yield from _children_first(child, seen)
        yield module


def _reset(module: nn.Module) -> Callable[[], object] | None:
    """The method that fills a module as its constructor does."""
    name = _resets(type(module))
    return None if name is None else getattr(module, name)


@lru_cache(maxsize=4096)
def _resets(cls: type) -> str | None:
    """The name of that method, where it can be called without arguments."""
    name = next((name for name in _RESETS if hasattr(cls, name)), None)
    if name is not None:
        try:
            inspect.signature(getattr(cls, name)).bind(None)
        except (TypeError, ValueError):
            return None
    return name


def _unsure(entry: Entry, codes: Mapping[str, str]) -> str | None:
    """Why ``reset_parameters`` may not be what the constructor did with a tensor."""
    if not codes and len(entry.names) == 1:
        return None
    owners = [name.rpartition(".")[0] for name in entry.names]
    for owner in owners:
        if owner in codes:
            return codes[owner]
    if len(set(owners)) > 1:
        return f"one of its owners, {' and '.join(dict.fromkeys(owners))}"
    return None


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
