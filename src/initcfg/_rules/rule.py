"""A rule: one entry of an ``init_cfg``, parsed and checked, with the place where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initcfg._model import holds_tensors
from initcfg._rules.initializers import (
    BaseInit,
    ConstantInit,
    OnModules,
    PretrainedInit,
    batch_text,
    function_label,
    is_function,
)
from initcfg._rules.layer_names import NO_LAYERS, Layers
from initcfg._rules.patterns import Pattern
from initcfg._rules.scale import Expression
from initcfg._rules.schemes import Base, Scheme
from initcfg._rules.types import type_label
from initcfg._rules.written import LineOfRule, WrittenAt
from initcfg.errors import ArgumentValueError, plural


@dataclass(frozen=True, eq=False)
class SchemeRule:
    """A rule that names a scheme: its parts are rules of their own.

    Attributes:
        where: Its path.
        written: File and line it was written at, where known.
        cfg: The entry as it was written.
        name: The scheme, as a plan calls it.
        scheme: The scheme.
        done: Whether the rule says that the forward pass does its part.
        patterns: The patterns that stand in the rule itself, by key: each part has them too.
        base: The narrow model that the scheme knows.
    """

    where: str
    written: WrittenAt | None
    cfg: Mapping[str, Any]
    name: str
    scheme: Scheme
    done: bool = False
    patterns: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    base: Base | None = None

    @property
    def place(self) -> str:
        """Where it stands, for an error."""
        return location(self.where, self.written)

    def __str__(self) -> str:
        return show_cfg(self.cfg)


@dataclass(frozen=True, eq=False)
class Rule:
    """One entry of an ``init_cfg``.

    Attributes:
        where: Path of the entry: ``model.backbone.init_cfg[0].override[1]``.
        written: File and line it was written at, where known.
        cfg: The entry as it was written.
        weight: Initializer of weights; None leaves them alone. A foreign initializer (any callable
            that takes a module, as the original's registry allows) stands in ``foreign``.
        bias: Initializer of biases; None leaves them alone.
        pretrained: The checkpoint to load, for a Pretrained rule.
        layers, names, params, buffers, roles, excludes: The selection.
        scale: What it multiplies each tensor by that ``type`` fills.
        tune: For these tensors: multipliers of the optimizer's numbers. Without a type, they are all it says.
        optimizer: The optimizer that these are for, if for one alone.
        scheme: The scheme that it is a part of.
        override_name: Attribute that this rule initializes whole, for an override.
        overrides: The overrides that stand in this rule.
        axes: ``in_axis``, ``out_axis`` and ``batch_axis``, where given.
        filler: The initializer that ``type`` names, if it is one of values.
    """

    where: str
    written: WrittenAt | None
    cfg: Mapping[str, Any]
    weight: BaseInit | None = None
    bias: BaseInit | None = None
    foreign: Any = None
    pretrained: PretrainedInit | None = None
    layers: Layers = NO_LAYERS
    names: tuple[Pattern, ...] = ()
    params: tuple[Pattern, ...] = ()
    buffers: tuple[Pattern, ...] = ()
    roles: tuple[Pattern, ...] = ()
    excludes: tuple[Pattern, ...] = ()
    scale: Expression | None = None
    tune: Mapping[str, Expression] = field(default_factory=dict)
    optimizer: str | None = None
    scheme: SchemeRule | None = None
    override_name: str | None = None
    overrides: tuple[Rule, ...] = ()
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    filler: BaseInit | None = None
    type_name: str = ""

    @property
    def kind(self) -> str:
        """What its steps are: ``"foreign"``, ``"pretrained"`` or ``"rule"``."""
        return "foreign" if self.foreign is not None else "pretrained" if self.pretrained else "rule"

    @property
    def place(self) -> str:
        """Where it stands, for an error."""
        return location(self.where, self.written)

    @property
    def selects(self) -> bool:
        """Whether the rule itself (apart from its overrides) can reach anything."""
        return bool(self.layers or self.names or self.params or self.buffers or self.roles)

    @property
    def asked(self) -> frozenset[str]:
        """The names of the arithmetic that its ``scale`` and ``tune`` need."""
        expressions = (*self.tune.values(), *((self.scale,) if self.scale is not None else ()))
        return frozenset().union(*(each.names for each in expressions))

    def scales(self, initializer: BaseInit | None) -> bool:
        """Whether ``scale`` and ``tune`` are for what this initializer fills: that of ``type`` alone."""
        return initializer is self.filler and (self.scale is not None or self.tunes)

    @property
    def tunes(self) -> bool:
        """Whether it says something of the optimizer."""
        return bool(self.tune) or self.optimizer is not None

    def tuned(self, known: Mapping[str, float]) -> dict[str, float | str]:
        """Its multipliers for a tensor of which these numbers are known.

        Raises:
            ArgumentValueError: One is below 0, or has no value.
        """
        found: dict[str, float | str] = {key: each.value(known) for key, each in self.tune.items()}
        for key, number in found.items():
            if isinstance(number, float) and number < 0:
                raise ArgumentValueError(
                    f"tune: {key} is {number:g} here, and no multiplier is below 0.",
                    fix="Correct the expression.",
                )
        return found if self.optimizer is None else {**found, "optimizer": self.optimizer}

    def __str__(self) -> str:
        # Rules that are written alike share it.
        if "_text" not in self.__dict__:
            self.__dict__["_text"] = show_cfg(self.cfg)
        return self.__dict__["_text"]

    def moved(self, above: str, where: str, written: LineOfRule) -> Rule:
        """The same rule of an ``init_cfg`` with another path, ``where`` in place of ``above``."""
        str(self)
        made = object.__new__(Rule)
        path = where + self.where[len(above) :]
        made.__dict__.update(self.__dict__, where=path, written=written(path))
        if self.overrides:
            made.__dict__["overrides"] = tuple(each.moved(above, where, written) for each in self.overrides)
        return made

    def initializer(self, slot: str) -> dict[str, Any]:
        """The initializer as JSON data, for a tensor of ``slot`` ``"weight"`` or ``"bias"``."""
        if self.pretrained is not None:
            return {"type": self.pretrained.name, **self.pretrained.arguments()}
        if self.foreign is not None:
            given = self.foreign.arguments() if isinstance(self.foreign, OnModules) else {}
            return {"type": self.type_name, **given}
        own = self.bias if slot == "bias" else self.weight
        apart = self.cfg.get(slot)
        if own is not None and isinstance(apart, Mapping):
            return {"type": type_label(apart["type"]), **own.arguments()}
        main = self.weight if self.weight is not None else self.bias
        arguments = {} if main is None else main.arguments()
        bias = {} if not isinstance(self.bias, PlainBias) else {"bias": self.bias.val}
        return {"type": self.type_name, **arguments, **bias}


class PlainBias(ConstantInit):
    """The biases of a rule that gives a number for them."""


def bias_of(initializer: BaseInit) -> BaseInit:
    """What fills the biases where nothing is said of them apart."""
    return initializer if initializer.fills_bias else PlainBias(initializer.bias)


def location(where: str, written: WrittenAt | None) -> str:
    """Path of a rule, and file and line where known."""
    return f"{where} ({written})" if written else where


def show_cfg(cfg: Mapping[str, Any]) -> str:
    """An entry as a person writes it: ``dict(type='Kaiming', layer='Conv2d')``."""

    def show(item: Any) -> str:
        if isinstance(item, Mapping) and holds_tensors(item):
            return f"<a state_dict of {plural(len(item), 'tensor')}>"
        if isinstance(item, nn.Module):
            return f"<a {type(item).__name__}>"
        if isinstance(item, Mapping):
            return show_cfg(item)
        if isinstance(item, list):
            return "[" + ", ".join(show(each) for each in item) + "]"
        if isinstance(item, tuple):
            return "(" + ", ".join(map(show, item)) + ("," if len(item) == 1 else "") + ")"
        if hasattr(item, "shape") and hasattr(item, "dtype"):
            return f"<{batch_text(item)}>"
        if isinstance(item, type) or is_function(item):
            return function_label(item)
        return repr(item)

    return "dict(" + ", ".join(f"{key}={show(item)}" for key, item in cfg.items()) + ")"
