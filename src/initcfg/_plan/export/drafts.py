"""Drafts of rules, and what they would write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from initcfg._plan.export.cells import Cell, View, Visit
from initcfg._plan.export.patterns import bits, matches
from initcfg._plan.export.specs import Spec
from initcfg.values import Value


@dataclass(eq=False)
class Draft:
    """A rule in the making: initializers (None leaves those tensors alone), classes, and patterns."""

    weight: Spec | None
    bias: Spec | None = None
    layers: list[type] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    params: list[str] = field(default_factory=list)
    buffers: list[str] = field(default_factory=list)
    excludes: list[str] = field(default_factory=list)

    def spec(self, slot: str) -> Spec | None:
        return self.bias if slot == "bias" else self.weight

    def means(self, visit: Visit) -> bool:
        """Whether its classes, if it has any, mean the module."""
        return not self.layers or not set(self.layers).isdisjoint(visit.cls.__mro__)


class State:
    """What each tensor has by the drafts so far."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.current: list[Value | None] = [None] * len(view.wanted)

    def is_wrong(self, number: int) -> bool:
        """Whether a tensor should have something, and does not have it yet."""
        wanted = self.view.wanted[number]
        return wanted is not None and self.current[number] != wanted

    def wrong(self) -> list[int]:
        return [number for number in range(len(self.current)) if self.is_wrong(number)]

    def mistakes(self) -> int:
        """How many tensors are wrong, or are written and should not be."""
        written = [number for number, current in enumerate(self.current) if current is not None]
        forbidden = [n for n in written if self.view.wanted[n] is None and n not in self.view.given]
        return len(self.wrong()) + len(forbidden)

    def run(self, draft: Draft) -> None:
        """Write what a draft says."""
        for cell, spec in reached(self.view, draft):
            self.current[cell.tensor] = spec.gives(cell.layout)


def reached(view: View, draft: Draft) -> Iterator[tuple[Cell, Spec]]:
    """What a draft writes, in the order of the walk."""
    if draft.params or draft.buffers:
        assert draft.weight is not None
        for index, patterns in ((view.parameter_names, draft.params), (view.buffer_names, draft.buffers)):
            for pattern in patterns:
                for number in bits(index.mask(pattern)):
                    yield from ((cell, draft.weight) for cell in view.single[number])
        return
    chosen = 0 if draft.names else -1
    for pattern in draft.names:
        chosen |= view.module_names.mask(pattern)
    for number in view.order:
        visit = view.visits[number]
        if chosen >> number & 1 and draft.means(visit):
            for cell in visit.cells or ():
                spec = draft.spec(cell.slot)
                if spec is not None and not _excluded(draft.excludes, cell.name):
                    yield cell, spec


def _excluded(patterns: list[str], name: str) -> bool:
    components = name.split(".") if patterns else ()
    heads = [".".join(components[: end + 1]) for end in range(len(components))]
    return any(matches(pattern, head) for pattern in patterns for head in heads)


def rule_of(draft: Draft, view: View) -> dict[str, Any]:
    """The rule as it is written."""
    cfg = {} if draft.weight is None else dict(draft.weight.cfg)
    rule: dict[str, Any] = {"type": cfg.pop("type")} if cfg else {}
    labels = view.labels.of(draft.layers) or []
    selection = {"layer": labels, "name": draft.names, "param": draft.params, "buffer": draft.buffers}
    rule |= {key: one_or_list(items) for key, items in selection.items() if items}
    rule |= cfg
    if not (draft.params or draft.buffers):
        rule |= _bias(draft, view)
    if draft.excludes:
        rule["exclude"] = one_or_list(draft.excludes)
    return rule


def _bias(draft: Draft, view: View) -> dict[str, Any]:
    """What a rule says of the biases, where it reaches any."""
    weight, bias = draft.weight, draft.bias
    probe = Draft(weight or bias, weight or bias, draft.layers, draft.names, excludes=draft.excludes)
    if not any(cell.slot == "bias" for cell, _ in reached(view, probe)):
        return {}
    if bias is None:
        return {} if weight is None else {"bias": None}
    if bias.constant is not None:
        return {"bias": bias.constant}
    return {} if bias is weight and bias.init.fills_bias else {"bias": dict(bias.cfg)}


def one_or_list(items: list[str]) -> str | list[str]:
    """Of one, itself."""
    return items[0] if len(items) == 1 else items
