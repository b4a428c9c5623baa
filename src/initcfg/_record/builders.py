"""Builders: which code may have filled a tensor that no rule reaches and of which nothing was recorded.

Of a model that was built before anybody watched there is only its classes to read: the constructor that made
the parameter, and a method such as ``_init_weights`` of the class around it, which may have written later.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from initcfg._model import Entry, Names, Node
from initcfg._plan import Shadowed
from initcfg._record.defaults import survey, usual_of_torch


@dataclass(frozen=True)
class Builder:
    """The code that may have filled a tensor.

    Attributes:
        code: Names of it, such as ``"Encoder._init_weights"``: one, or two where either may have been last.
        source: File and line of the last of them; None of torch's own.
        usual: What torch's constructor alone would have left, if the layer is one of torch's.
    """

    code: tuple[str, ...]
    source: str | None
    usual: Shadowed | None


def builders(names: Names, missing: Iterable[Entry]) -> dict[str, Builder]:
    """By canonical name: the code that may have filled these tensors."""
    entries = list(missing)
    codes, places = survey(names.tree, {id(entry.tensor) for entry in entries}, ())
    modules = _by_name(names.tree)
    found: dict[str, Builder] = {}
    for entry in entries:
        place = places.get(id(entry.tensor))
        if place is None:
            continue
        cls = type(place.module)
        owner = next((owner for owner in map(_owner, entry.names) if owner in codes), None)
        constructor = _defining(cls, "__init__")
        said = [] if constructor is None else [(constructor, "__init__")]
        if owner is not None:
            # The method may be that of a module above, whose name the owner of the code has.
            said += _method(codes[owner], owner, modules)
        if not said:
            said = [(cls, "__init__")]
        # A constructor that is itself the code that writes is named once.
        said = list(dict.fromkeys(said))
        found[entry.name] = Builder(
            tuple(f"{each.__name__}.{method}" for each, method in said),
            _source(*said[-1]),
            usual_of_torch(place, entry),
        )
    return found


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _by_name(tree: Node) -> dict[str, list[nn.Module]]:
    """The modules by the names that their tensors have: a wrapper has that of what it wraps."""
    found: dict[str, list[nn.Module]] = {}
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        found.setdefault(node.name, []).append(node.module)
        waiting += node.children
    return found


def _method(code: str, owner: str, modules: Mapping[str, Sequence[nn.Module]]) -> list[tuple[type, str]]:
    """The class and method of these names, of the module or the nearest above it."""
    class_name, _, method = code.rpartition(".")
    parts = owner.split(".") if owner else []
    for count in range(len(parts), -1, -1):
        for module in modules.get(".".join(parts[:count]), ()):
            for base in type(module).__mro__:
                if base.__name__ == class_name and method in vars(base):
                    return [(base, method)]
    return []


def _defining(cls: type, method: str) -> type | None:
    """The class, not of torch, that has this method first."""
    for base in cls.__mro__:
        if method in vars(base):
            return None if base.__module__.startswith("torch.") else base
    return None


def _source(cls: type, method: str) -> str | None:
    code = getattr(vars(cls).get(method), "__code__", None)
    if code is None or cls.__module__.startswith("torch."):
        return None
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
