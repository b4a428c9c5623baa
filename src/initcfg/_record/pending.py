"""Pending parameters: what a deferred constructor meant to write, kept on the parameter until it is done.

Sharding puts other tensors in the place of parameters, and knows nothing of what is kept on them. So it is
noted on their modules too, under the attribute's name, and found again from there. A parameter that a person
puts in the place of one is that person's: its note is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initcfg._model import PENDING, children_of, is_sharded, modules_of, parameters_of
from initcfg._record.registrations import listen
from initcfg.values import Computed, Value

if TYPE_CHECKING:
    from initcfg._record.recording import Outcome
    from initcfg._record.rest import Rest

_ATTRIBUTE = "_initcfg_default"


@dataclass(eq=False, slots=True)
class Default:
    """What a parameter's constructor meant to write; no value if nobody wrote it. It does not change.

    ``replay`` does what waits of the whole build, in its order, for ``rng="torch"``.
    """

    outcome: Outcome
    replay: Rest

    @property
    def value(self) -> Value | None:
        """What it is to hold."""
        return self.outcome.value


_CHANCES = "_initcfg_chances"


def note_chances(modules: Iterable[nn.Module], chances: Iterable[str]) -> None:
    """Note on the parameters of a build what decided its numbers beside torch's generator."""
    if noted := tuple(chances):
        for module in modules:
            for parameter in parameters_of(module).values():
                if parameter is not None:
                    setattr(parameter, _CHANCES, noted)


def chances_of(tensor: torch.Tensor) -> tuple[str, ...]:
    """What was noted of the build that made a tensor."""
    return tensor.__dict__.get(_CHANCES, ())


def set_default(parameter: torch.Tensor, default: Default) -> None:
    """Note on a parameter what it is to hold."""
    setattr(parameter, _ATTRIBUTE, default)


def default_of(tensor: torch.Tensor) -> Default | None:
    """What the constructor of a pending parameter meant; None if it is not pending."""
    return tensor.__dict__.get(_ATTRIBUTE)


def unset_default(tensor: torch.Tensor) -> None:
    """The parameter holds what it should."""
    vars(tensor).pop(_ATTRIBUTE, None)


def is_pending(module: nn.Module) -> bool:
    """Whether some parameter of the module waits for its plan to be applied."""
    recall_defaults(modules_of(module))
    return any(waits(parameter) for parameter in module.parameters())


def pending_among(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Those of these modules that have a pending parameter, themselves or in a module below."""
    modules = list(modules)
    above: dict[int, list[nn.Module]] = {}
    found: dict[int, nn.Module] = {}
    todo, seen = list(modules), set[int]()
    while todo:
        module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        recall_defaults((module,))
        if any(each is not None and waits(each) for each in parameters_of(module).values()):
            found[id(module)] = module
        for child in children_of(module).values():
            if child is not None:
                above.setdefault(id(child), []).append(module)
                todo.append(child)
    todo = list(found.values())
    while todo:
        for module in above.pop(id(todo.pop()), ()):
            found[id(module)] = module
            todo.append(module)
    return [module for module in modules if id(module) in found]


def waits(parameter: torch.Tensor) -> bool:
    """Whether a parameter does not hold yet what its constructor meant."""
    default = default_of(parameter)
    return default is not None and default.value is not None and not isinstance(default.value, Computed)


class _Notes(dict[str, tuple[Default, torch.Tensor]]):
    """For each attribute of a module, what it is to hold; copies and pickles of the module have no notes.

    Beside it stands the parameter on which it was last seen: that one knows by itself whether it waits. It is
    not a weak reference, which torch would not let be swapped.

    Attributes:
        rest: What the build has left to do, where no parameter waits that could say it.
    """

    rest: Rest | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Notes, ()


def note_defaults(module: nn.Module) -> None:
    """Note on a module what its parameters are to hold."""
    for name, parameter in parameters_of(module).items():
        if parameter is not None and (default := default_of(parameter)) is not None:
            _note(module, name, parameter, default)


def note_rest(modules: Iterable[nn.Module], rest: Rest) -> None:
    """Note on the modules of a build what it has left to do, where no parameter can say it."""
    for module in modules:
        module.__dict__.setdefault(PENDING, _Notes()).rest = rest


def rests_of(modules: Iterable[nn.Module]) -> Iterable[Rest]:
    """What was noted on these modules."""
    noted = (module.__dict__[PENDING].rest for module in modules if PENDING in module.__dict__)
    return dict.fromkeys(rest for rest in noted if rest is not None)


def recall_defaults(modules: Iterable[nn.Module]) -> bool:
    """Parameters that stand in the place of pending ones are pending themselves; whether there are any."""
    recalled = False
    for module in modules:
        notes: _Notes | None = module.__dict__.get(PENDING)
        for name, (default, last_seen) in () if notes is None else notes.items():
            parameter = parameters_of(module).get(name)
            if parameter is not None and parameter is not last_seen:
                if default_of(parameter) is None:
                    set_default(parameter, default)
                    recalled = True
                assert notes is not None
                notes[name] = default, parameter
    return recalled


def forget_defaults(modules: Iterable[nn.Module]) -> None:
    """A plan was applied: nothing in these modules is pending."""
    for module in modules:
        module.__dict__.pop(PENDING, None)


def _note(module: nn.Module, name: str, parameter: torch.Tensor, default: Default) -> None:
    _watch_registrations()
    module.__dict__.setdefault(PENDING, _Notes())[name] = default, parameter


@cache
def _watch_registrations() -> None:
    """From the first pending parameter on, each module that gets a parameter is looked at, for good."""
    listen(parameters=_registered)


def _registered(module: nn.Module, name: str, parameter: torch.Tensor | None) -> None:
    """A module gets a parameter: pending itself, a person's own, or the shards of what was there."""
    if parameter is None:
        return
    default = default_of(parameter)
    if default is not None:
        _note(module, name, parameter, default)
    elif PENDING in module.__dict__ and not is_sharded(parameter):
        module.__dict__[PENDING].pop(name, None)
