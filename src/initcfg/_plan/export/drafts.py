"""Drafts of rules, and what they would write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initcfg._plan.export.cells import Cell, View, Visit
from initcfg._plan.export.patterns import bits, matches
from initcfg._plan.export.specs import Spec
from initcfg._rules import dotted
from initcfg.values import Value


@dataclass(eq=False)
class Draft:
    """A rule in the making.

    Attributes:
        weight, bias: Initializers; None leaves those tensors alone.
        layers: Classes.
        names, params, buffers, excludes: Patterns.
    """

    weight: Spec | None
    bias: Spec | None = None
    layers: list[type] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    params: list[str] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)
    excludes: list[str] = field(default_factory=list)

    def spec(self, role: str) -> Spec | None:
        """The initializer of a role."""
        return self.bias if role == "bias" else self.weight


class Labels:
    """What classes are called in a rule: by name, or by path where a name means more than is meant.

    Args:
        visits: The modules of the model.
    """

    def __init__(self, visits: Iterable[Visit]) -> None:
        self._classes = {kind(visit) for visit in visits if visit.cells != []}
        self._bare: dict[str, set[type]] = {}
        self._paths: dict[str, set[type]] = {}
        for cls in self._classes:
            for base in cls.__mro__[:-1]:
                self._bare.setdefault(base.__name__, set()).add(cls)
                self._paths.setdefault(dotted(base), set()).add(cls)

    def of(self, layers: Iterable[type]) -> list[str] | None:
        """Names that together mean these classes, and what derives from them; None if there are none."""
        meant = self._derived(layers)
        found: dict[str, set[type]] = {}
        for cls in layers:
            name, path = cls.__name__, dotted(cls)
            if self._bare.get(name, meant) <= meant:
                found[name] = self._bare.get(name, set())
            elif self._paths.get(path) == self._derived([cls]):
                found[f"torch.nn.{name}" if getattr(nn, name, None) is cls else path] = self._paths[path]
            else:
                return None
        for name in list(found):
            others = [each for other, each in found.items() if other != name]
            if found[name] <= set().union(*others):
                del found[name]
        return list(found)

    def _derived(self, layers: Iterable[type]) -> set[type]:
        bases = tuple(layers)
        return {cls for cls in self._classes if issubclass(cls, bases)}


def kind(visit: Visit) -> type:
    """The class of a module by which rules know it."""
    made = "parametrizations" in visit.module._modules and visit.cls.__name__.startswith("Parametrized")
    return visit.cls.__mro__[1] if made else visit.cls


class State:
    """What each tensor has by the drafts so far."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.current: list[Value | None] = [None] * len(view.wanted)

    def right(self, number: int) -> bool:
        """Whether a tensor has what it should, or is left alone as it should."""
        have, want = self.current[number], self.view.wanted[number]
        return have is want or have == want

    def wrong(self) -> list[int]:
        """Tensors that do not have yet what they should."""
        return [
            number
            for number, want in enumerate(self.view.wanted)
            if want is not None and not self.right(number)
        ]

    def forbidden(self) -> set[int]:
        """Tensors that are written and should not be."""
        return {
            number
            for number, want in enumerate(self.view.wanted)
            if want is None and self.current[number] is not None and number not in self.view.given
        }

    def run(self, draft: Draft) -> None:
        """Write what a draft says."""
        for _, cell, spec in reached(self.view, draft):
            self.current[cell.tensor] = spec.gives(cell.layout)


def reached(view: View, draft: Draft) -> Iterator[tuple[Visit | None, Cell, Spec]]:
    """What a draft writes, in the order of the walk."""
    if draft.params or draft.buffers:
        assert draft.weight is not None
        for index, patterns in ((view.parameter_names, draft.params), (view.buffer_names, draft.buffers)):
            for pattern in patterns:
                for number in bits(index.mask(pattern)):
                    for cell in view.single[number]:
                        yield None, cell, draft.weight
        return
    chosen = (1 << len(view.visits)) - 1
    if draft.names:
        chosen = 0
        for pattern in draft.names:
            chosen |= view.module_names.mask(pattern)
    classes = set(draft.layers)
    for number in view.order:
        visit = view.visits[number]
        if not chosen >> number & 1 or (classes and classes.isdisjoint(visit.cls.__mro__)):
            continue
        for cell in visit.cells or ():
            spec = draft.spec(cell.role)
            if spec is not None and not (draft.excludes and _excluded(draft.excludes, cell.name)):
                yield visit, cell, spec


def _excluded(patterns: list[str], name: str) -> bool:
    parts = name.split(".")
    heads = [".".join(parts[: place + 1]) for place in range(len(parts))]
    return any(matches(pattern, head) for pattern in patterns for head in heads)


def rule_of(draft: Draft, view: View, labels: Labels) -> dict[str, Any]:
    """The rule as it is written."""
    rule: dict[str, Any] = {}
    if draft.weight is not None:
        rule["type"] = draft.weight.cfg["type"]
    selection = {
        "layer": labels.of(draft.layers) or [],
        "name": draft.names,
        "param": draft.params,
        "buffer": draft.buffers,
    }
    rule.update((key, _one_or_list(items)) for key, items in selection.items() if items)
    if draft.weight is not None:
        rule.update((key, item) for key, item in draft.weight.cfg.items() if key != "type")
    if not (draft.params or draft.buffers):
        _add_bias(rule, draft, view)
    if draft.excludes:
        rule["exclude"] = _one_or_list(draft.excludes)
    return rule


def _add_bias(rule: dict[str, Any], draft: Draft, view: View) -> None:
    some = draft.weight or draft.bias
    probe = Draft(some, some, draft.layers, draft.names, excludes=draft.excludes)
    if not any(cell.role == "bias" for _, cell, _ in reached(view, probe)):
        return
    if draft.bias is None:
        if draft.weight is not None:
            rule["bias"] = None
    elif draft.bias.constant is not None:
        rule["bias"] = draft.bias.constant
    elif draft.bias is not draft.weight or not draft.bias.init.fills_bias:
        rule["bias"] = dict(draft.bias.cfg)


def _one_or_list(items: list[str]) -> str | list[str]:
    return items[0] if len(items) == 1 else items
