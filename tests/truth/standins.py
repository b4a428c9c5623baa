"""Rebuild a recorded model as a tree of stand-in modules: names, classes, shapes, and no weights.

A stand-in has what initialization by rules looks at: the name of its class, of the bases and of the
whole MRO, its `init_cfg`, its parameters (on the meta device), the attributes that overrides name.
It computes nothing, and its own `init_weights`, where the real class has one, raises.
"""

from __future__ import annotations

from ast import literal_eval
from functools import cache
from typing import Any

import torch
from records import ABSENT, ClassRecord, ModelRecord, ModuleRecord
from torch import nn

import initcfg

#: Names that stand for a class which the rules know by identity, not only by name.
_REAL: dict[str, type[nn.Module]] = {"BaseModule": initcfg.BaseModule, "Module": nn.Module}


class UserCodeError(AssertionError):
    """An `init_weights` of a model's own ran where nothing but a plan was asked for."""


def _init_weights(self: nn.Module) -> None:
    raise UserCodeError(f"{type(self).__name__}.init_weights ran.")


@cache
def _ancestor(mro: tuple[str, ...]) -> type:
    """A class with the names `mro`: each the base of the one before it, where nothing else is known."""
    if mro[0] in _REAL:
        return _REAL[mro[0]]
    if mro == ("object",):
        return object
    bases = [_ancestor(mro[1:])]
    if mro[1] == "BaseModule" and mro[2] != "Module":
        # MMEngine's Sequential and ModuleList: a BaseModule, and then torch's class of that name.
        bases.append(_ancestor(mro[2:]))
    return type(mro[0], tuple(bases), {"__module__": "recorded"})


@cache
def _class(record: ClassRecord, properties: tuple[str, ...]) -> Any:
    """A class with the recorded names; `properties` answer from the instance's `_answers`."""
    rest = record.lineage[1:]
    # The first base is followed by its own ancestors, up to the next base or a class known by
    # identity; the last base by everything that remains.
    bases: list[type] = []
    positions = [rest.index(base) for base in record.bases]
    for place, position in enumerate(positions):
        end = positions[place + 1] if place + 1 < len(positions) else len(rest)
        if rest[position] in _REAL or end == len(rest):
            bases.append(_ancestor(rest[position:]))
        else:
            bases.append(_ancestor((*rest[position:end], *rest[end:])))
    body: dict[str, Any] = {"__module__": record.module}
    if record.overrides_init_weights:
        body["init_weights"] = _init_weights
    for name in properties:
        body[name] = property(lambda self, name=name: self.__dict__["_answers"][name])
    made = type(record.name, tuple(bases), body)
    assert tuple(base.__name__ for base in made.__bases__) == record.bases
    assert tuple(cls.__name__ for cls in made.__mro__) == record.lineage, record
    return made


def _stand_in(record: ModuleRecord) -> nn.Module:
    prefix = f"{record.name}." if record.name else ""
    asked = tuple(name for name, target in record.override_targets.items() if target != prefix + name)
    made = _class(record.cls, asked)
    init_cfg = record.init_cfg
    if issubclass(made, initcfg.BaseModule):
        module = made(init_cfg=init_cfg)
    else:
        module = made()
        if init_cfg != ABSENT:
            module.init_cfg = init_cfg
    for name, shape in record.params:
        module.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))
    for name in record.none_params:
        module.register_parameter(name, None)
    for key, value in record.marks.items():
        if key == "is_init_before":
            module.is_init = value
        else:
            # "float 3.0", "str 'qv_bias'", "NoneType None": type and repr.
            setattr(module, key.removesuffix("_attr"), literal_eval(value.partition(" ")[2]))
    return module


def build(record: ModelRecord) -> nn.Module:
    """The stand-in of a recorded model."""
    modules: dict[str, nn.Module] = {}
    for name in record.order:
        alias = record.aliases.get(name)
        module = modules[name] = modules[alias] if alias is not None else _stand_in(record.modules[name])
        if name:
            parent, _, own = name.rpartition(".")
            modules[parent].add_module(own, module)
    for name, module in record.modules.items():
        if module.override_targets:
            answers = {asked: modules[target] for asked, target in module.override_targets.items()}
            modules[name].__dict__["_answers"] = answers
    for parameter in record.params:
        if parameter.tied_to:
            there, _, key = parameter.tied_to.rpartition(".")
            here, _, own = parameter.name.rpartition(".")
            setattr(modules[here], own, getattr(modules[there], key))
    return modules[""]
