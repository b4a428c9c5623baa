"""Reach: what rules can reach in a model: the modules in the order of the walk, and the tensors of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from initcfg._model import Entry, Names, Node, Target, layout_of_raw, original_targets, targets
from initcfg.errors import InitcfgError
from initcfg.values import Layout

State = TypeVar("State")


def walk_modules(
    node: Node,
    state: State,
    enter: Callable[[Node, State], State],
    leave: Callable[[Node, State], None],
) -> None:
    """Go through a module tree: what a module writes comes after what its children write.

    ``enter`` is called before the children, and gives the state that is handed down to them; ``leave`` after
    them, with the same.
    """
    state = enter(node, state)
    for child in node.children:
        walk_modules(child, state, enter, leave)
    leave(node, state)


def name_in(prefix: str, attribute: str) -> str:
    """Qualified name of what a module of this name has."""
    return f"{prefix}.{attribute}" if prefix else attribute


class Reach:
    """The tensors that modules show to a rule; with ``compat``, those that the original sees."""

    def __init__(self, names: Names, *, compat: bool) -> None:
        self._names = names
        self._compat = compat
        self._targets: dict[int, list[Target]] = {}

    def targets(self, module: nn.Module) -> list[Target]:
        """What a rule writes that means the whole module."""
        found = self._targets.get(id(module))
        if found is None:
            found = original_targets(module) if self._compat else targets(module)
            self._targets[id(module)] = found
        return found

    def single(self, module: nn.Module, attribute: str, tensor: torch.Tensor) -> Target:
        """What a rule writes that names one tensor, with the layout that the module's class gives it."""
        try:
            known = self.targets(module)
        except InitcfgError:
            # Some other tensor of the module cannot be written; this one is named by itself.
            known = []
        layouts = (target.layout for target in known if target.tensor is tensor)
        layout = next(layouts, None) or layout_of_raw(module, attribute, tensor)
        return Target(tensor, "weight", layout or Layout(tuple(tensor.shape)), attribute)

    def layout(self, target: Target, entry: Entry | None) -> Layout:
        """The layout of a target, with what only the whole model tells."""
        layout = target.layout
        if entry is None:
            return layout
        if entry.holder is not None and entry.shape != layout.shape:
            layout = replace(layout, shape=entry.shape)
        if entry.padding_index is not None and not self._compat:
            # Also when the rule comes by way of a layer that is tied to the embedding.
            layout = replace(layout, padding_index=entry.padding_index)
        return layout


def layouts_of(names: Names) -> Mapping[str, Layout]:
    """What the axes of each parameter mean, by what its module is; of a tied one, by the first that tells."""
    reach = Reach(names, compat=False)
    found: dict[str, Layout] = {}

    def note(target: Target) -> None:
        entry = names.entries.get(id(target.tensor))
        # Axes of which only the shape tells give way to what another module says.
        if entry is not None and found.get(entry.name, plain := Layout(entry.shape)) == plain:
            found[entry.name] = reach.layout(target, entry)

    for module in names.module_of.values():
        with contextlib.suppress(InitcfgError):
            # Some tensor of it cannot be written: its others are named by themselves.
            for target in reach.targets(module):
                note(target)
        for attribute, tensor in module._parameters.items():
            if tensor is not None and names.entries.get(id(tensor)) is not None:
                note(reach.single(module, attribute, tensor))
    return found
